-- jobs: counts the ends of a replay job's calls, wakes the job, and ends it.
--
-- A running job has an alarm in `due_running`, and a holder with a lease like a call's. In alarms and messages a job's
-- id has a prefix, which distinguishes it from an invocation's.

local alarms = require('alarms')
local constants = require('constants')
local effects = require('effects')
local KEY = require('keys')
local int = require('numbers').int
local outcomes = require('outcomes')
local parking = require('parking')
local ready = require('ready')

local jobs = {}

jobs.PREFIX = 'replay-'
jobs.MOST = 1000 -- most unfinished calls of one job; it continues when half of them are left
jobs.ALARM = 60000 -- a backstop: the ends of its calls wake it

function jobs.state_of(run, id)
  run.job_states = run.job_states or {} -- by id, as read by this run
  run.job_states[id] = run.job_states[id] or redis.call('HGET', KEY.replay(run, id), 'state') or 'gone'
  return run.job_states[id]
end

function jobs.set_alarm(run, id, at)
  redis.call('ZADD', KEY.due_running(run), int(at), jobs.PREFIX .. id)
end

function jobs.unset_alarm(run, id)
  redis.call('ZREM', KEY.due_running(run), jobs.PREFIX .. id)
end

function jobs.wake(run, id)
  redis.call('HSET', KEY.replay(run, id), 'waits', '')
  jobs.set_alarm(run, id, run.now + run.grace)
  ready.add(run, jobs.PREFIX .. id, constants.JOB_LANE)
end

-- Gives a job up: it has no holder until a sweep looks at it, `after` ms from now.
function jobs.leave(run, id, after)
  redis.call('HSET', KEY.replay(run, id), 'token', '', 'leaseEnd', '')
  jobs.set_alarm(run, id, run.now + after)
end

-- Ends a job if all its originals are decided (or it was cancelled) and all its calls are final; returns whether it is
-- over. The list of its originals is deleted; the job and its calls remain until `prune` deletes them.
function jobs.may_end(run, id)
  local f = redis.call('HMGET', KEY.replay(run, id), 'state', 'matched', 'finishedAt', 'keep')
  if f[3] or redis.call('SCARD', KEY.replay_open(run, id)) > 0 then return f[3] end
  local runs = f[1] == 'running' or f[1] == 'paused'
  if runs and redis.call('LLEN', KEY.replay_decided(run, id)) ~= tonumber(f[2]) then return false end
  if not runs and f[1] ~= 'cancelled' then return false end
  redis.call('ZADD', KEY.expiry(run), int(run.now + tonumber(f[4])), jobs.PREFIX .. id) -- before its end, as for a call
  redis.call('HSET', KEY.replay(run, id), 'state', runs and 'done' or f[1], 'finishedAt', run.now_text, 'token', '',
    'leaseEnd', '')
  jobs.unset_alarm(run, id)
  redis.call('DEL', KEY.replay_ids(run, id), KEY.replay_seen(run, id), KEY.replay_parked(run, id))
  return true
end

-- Makes a call wait until its paused job is resumed, in the job's own set, so that it is not ahead of live calls in the
-- webhook's set.
function jobs.hold(run, r)
  redis.call('ZADD', KEY.replay_parked(run, r.replay), r.createdAt, r.ref)
  redis.call('HSET', KEY.record(run, r.ref), 'parked', 'job')
  alarms.set_queued(run, r.ref, r.lane, run.now + parking.ALARM)
end

-- Notes that a call of a job has ended. As in listings, answers that are not errors count as delivered.
function jobs.record_end(run, id, ref, state, error)
  run.job_ends = run.job_ends or {} -- by job: its calls that ended in this run
  local ends = run.job_ends[id] or { delivered = {}, failed = {} }
  run.job_ends[id] = ends
  table.insert(ends[outcomes.is_delivered(state, error) and 'delivered' or 'failed'], ref)
end

-- Counts the ends of a job's calls, each call once; called at the script's end.
local function job_counts(run, id, calls)
  local counted = 0
  for result, refs in pairs(calls) do
    if refs[1] then
      effects.in_pieces('ZREM', KEY.replay_parked(run, id), refs, 1)
      local count = redis.call('SREM', KEY.replay_open(run, id), unpack(refs))
      if count > 0 then redis.call('HINCRBY', KEY.replay(run, id), result, count) end
      counted = counted + count
    end
  end
  if counted == 0 then return end
  local left = redis.call('SCARD', KEY.replay_open(run, id))
  if left == 0 and jobs.may_end(run, id) then return end
  if left <= jobs.MOST / 2 and redis.call('HGET', KEY.replay(run, id), 'waits') == '1' then jobs.wake(run, id) end
end

function jobs.flush(run)
  for id, calls in pairs(run.job_ends or {}) do job_counts(run, id, calls) end
end

return jobs
