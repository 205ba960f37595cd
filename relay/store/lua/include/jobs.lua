-- jobs: counts the ends of a replay job's calls, wakes the job, and ends it.
--
-- A running job has an alarm in `due_running`, and a holder with a lease like a call's. In alarms and messages a job's
-- id has a prefix, which distinguishes it from an invocation's.
-- needs: alarms, clock, effects, ends, parking, ready

local JOB_PREFIX = 'replay-'
local JOB_MOST = 1000 -- most unfinished calls of one job; it goes on when half of them are left
local JOB_ALARM = 60000 -- a backstop: the ends of its calls wake it

local job_states = {} -- by id, as read by this script

local function job_state(id)
  job_states[id] = job_states[id] or redis.call('HGET', KEY.replay(id), 'state') or 'gone'
  return job_states[id]
end

local function job_alarm(id, at)
  redis.call('ZADD', KEY.due_running(), int(at), JOB_PREFIX .. id)
end

local function job_alarm_off(id)
  redis.call('ZREM', KEY.due_running(), JOB_PREFIX .. id)
end

local function job_wake(id)
  redis.call('HSET', KEY.replay(id), 'waits', '')
  job_alarm(id, now + grace)
  add_ready(JOB_PREFIX .. id, JOB_LANE)
end

-- Gives a job up: it has no holder until it is looked at again `after` ms from now.
local function job_leave(id, after)
  redis.call('HSET', KEY.replay(id), 'token', '', 'leaseEnd', '')
  job_alarm(id, now + after)
end

-- Ends a job if all its originals are decided (or it was cancelled) and all its calls are final; returns whether it is
-- over. The list of its originals is deleted; the job and its calls remain until `prune` deletes them.
local function job_may_end(id)
  local f = redis.call('HMGET', KEY.replay(id), 'state', 'matched', 'finishedAt', 'keep')
  if f[3] or redis.call('SCARD', KEY.replay_open(id)) > 0 then return f[3] end
  local runs = f[1] == 'running' or f[1] == 'paused'
  if runs and redis.call('LLEN', KEY.replay_decided(id)) ~= tonumber(f[2]) then return false end
  if not runs and f[1] ~= 'cancelled' then return false end
  redis.call('ZADD', KEY.expiry(), int(now + tonumber(f[4])), JOB_PREFIX .. id) -- before its end, as for a call
  redis.call('HSET', KEY.replay(id), 'state', runs and 'done' or f[1], 'finishedAt', int(now), 'token', '',
    'leaseEnd', '')
  job_alarm_off(id)
  redis.call('DEL', KEY.replay_ids(id), KEY.replay_seen(id), KEY.replay_parked(id))
  return true
end

-- Lets a call wait until its paused job goes on, in the job's own set, so that it is not ahead of live calls in the
-- webhook's set.
local function wait_for_job(r)
  redis.call('ZADD', KEY.replay_parked(r.replay), r.createdAt, r.ref)
  redis.call('HSET', KEY.record(r.ref), 'parked', 'job')
  alarm_queued(r.ref, r.lane, now + PARKED_ALARM)
end

local heard = {} -- by job: its calls that ended in this script, delivered or failed

-- Notes that a call of a job has ended. Delivered are answers that are no errors, as in listings.
local function record_job_end(id, ref, state, error)
  heard[id] = heard[id] or { delivered = {}, failed = {} }
  table.insert(heard[id][is_delivered(state, error) and 'delivered' or 'failed'], ref)
end

-- Counts the ends of a job's calls, each call once; called at the script's end.
local function job_counts(id, calls)
  local counted = 0
  for result, refs in pairs(calls) do
    if refs[1] then
      in_pieces('ZREM', KEY.replay_parked(id), refs, 1)
      local count = redis.call('SREM', KEY.replay_open(id), unpack(refs))
      if count > 0 then redis.call('HINCRBY', KEY.replay(id), result, count) end
      counted = counted + count
    end
  end
  if counted == 0 then return end
  local left = redis.call('SCARD', KEY.replay_open(id))
  if left == 0 and job_may_end(id) then return end
  if left <= JOB_MOST / 2 and redis.call('HGET', KEY.replay(id), 'waits') == '1' then job_wake(id) end
end

local function jobs_flush()
  for id, calls in pairs(heard) do job_counts(id, calls) end
end
