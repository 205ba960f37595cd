-- replay_steer: pauses, resumes or cancels a job for an operator.
--
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2-5 retention ms: ok, failed, rejected, contents (0: as records)
--       6 plugin  7 replay id  8 pause, resume or cancel  9 actor
-- Returns {done, unknown or refused, the job's state, ready: ref, lane, ...}
--
-- Idempotent except for the audit entry: a job that is already in that state stays in it, and is answered as the first
-- time.

local audit = require('audit')
local fields = require('fields')
local finish = require('finish')
local jobs = require('jobs')
local KEY = require('keys')
local numbers = require('numbers')
local ready = require('ready')
local record = require('record')
local steps = require('steps')
local tallies = require('tallies')
local int, number = numbers.int, numbers.number

local read_held = fields.record('state', 'chain', 'timeout', 'lane', 'plugin', 'webhook', 'endBy', 'step')

local read_step = fields.values('step')

local FROM = {
  pause = { running = true, paused = true },
  resume = { running = true, paused = true, planning = true },
  cancel = { running = true, paused = true, planning = true, cancelled = true },
}

local function pause(run)
  redis.call('HSET', KEY.replay(run, run.id), 'state', 'paused', 'token', '', 'leaseEnd', '')
  jobs.unset_alarm(run, run.id)
end

-- Restores the full time of a chain that has not begun, counted from now, whether or not a worker has seen it since.
local function give_time(run, ref)
  local r = read_held(run, ref)
  if not r or record.FINAL[r.state] or r.chain ~= '1' or r.step ~= '-1' then return end
  r.deadline = int(run.now + tonumber(r.timeout))
  redis.call('HSET', KEY.record(run, ref), 'deadline', r.deadline)
  tallies.open(tallies.of(run, r.plugin, r.webhook), ref, record.ends_by(r))
end

-- Makes a held call ready.
local function release_held(run, ref)
  local r = read_held(run, ref)
  if not r or record.FINAL[r.state] then return end
  redis.call('HSET', KEY.record(run, ref), 'parked', '')
  ready.make(run, ref, r.lane)
end

local function resume(run)
  jobs.wake(run, run.id) -- first: the job must not be running without an alarm
  redis.call('HSET', KEY.replay(run, run.id), 'state', 'running')
  for _, ref in ipairs(redis.call('SMEMBERS', KEY.replay_open(run, run.id))) do give_time(run, ref) end
  for _, ref in ipairs(redis.call('ZRANGE', KEY.replay_parked(run, run.id), 0, -1)) do release_held(run, ref) end
  redis.call('DEL', KEY.replay_parked(run, run.id))
end

-- Cancels a call that no worker has claimed; a chain that has begun continues.
local function cancel_call(run, ref)
  local r = steps.read_unsent(run, ref)
  if not r or (r.state ~= 'queued' and r.state ~= 'retrying') then return end
  if r.chain == '1' and read_step(run, ref) ~= '-1' then return end
  finish.call(run, r, { state = 'cancelled', outcome = '', status = '', error = '', result = '', token = '' })
end

-- Writes that a job is cancelled, with all of its counts in one command; what follows may be repeated.
local function write_cancelled(run)
  local matched = redis.call('LLEN', KEY.replay_ids(run, run.id))
  local left = matched - redis.call('LLEN', KEY.replay_decided(run, run.id))
  local skipped = number(redis.call('HGET', KEY.replay(run, run.id), 'skipped')) + left
  redis.call('HSET', KEY.replay(run, run.id), 'state', 'cancelled', 'matched', int(matched), 'token', '', 'leaseEnd', '',
    'skipped', int(skipped), 'skipped:cancelled', int(left))
end

local function cancel(run)
  if run.state ~= 'cancelled' then write_cancelled(run) end
  jobs.unset_alarm(run, run.id)
  for _, ref in ipairs(redis.call('SMEMBERS', KEY.replay_open(run, run.id))) do cancel_call(run, ref) end
  jobs.may_end(run, run.id)
end

local DONE = { pause = 'paused', resume = 'running', cancel = 'cancelled' }

local function note(run, outcome)
  audit.add(run, 'replay_' .. run.verb, run.args[9], run.plugin, run.id, '', outcome, '', '', '')
end

local function main(run)
  ready.read_grace(run, 1)
  finish.read_retention(run, 2)
  run.plugin, run.id, run.verb = run.args[6], run.args[7], run.args[8]
  run.state = jobs.state_of(run, run.id)

  if run.state == 'gone' or redis.call('HGET', KEY.replay(run, run.id), 'plugin') ~= run.plugin then
    note(run, 'not_found')
    return { 'unknown', '', run.ready }
  end
  if not FROM[run.verb][run.state] then
    note(run, 'conflict')
    return { 'refused', run.state, run.ready }
  end
  note(run, run.state == DONE[run.verb] and 'unchanged' or DONE[run.verb])
  if run.verb == 'pause' and run.state == 'running' then pause(run) end
  if run.verb == 'resume' and run.state == 'paused' then resume(run) end
  if run.verb == 'cancel' and redis.call('HEXISTS', KEY.replay(run, run.id), 'finishedAt') == 0 then cancel(run) end
  finish.flush(run)
  return { 'done', redis.call('HGET', KEY.replay(run, run.id), 'state'), run.ready }
end

return { kind = 'confirms', is_fenced = true, run = main }
