-- replay_steer: pauses, resumes or cancels a job for an operator.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2-5 retention ms: ok, failed, rejected, contents (0: as records)
--       6 plugin  7 replay id  8 pause, resume or cancel  9 actor
-- Returns {done, unknown or refused, the job's state, ready: ref, lane, ...}
--
-- Idempotent except for the audit entry: a job that is already in that state stays in it, and is answered as the first
-- time.
-- needs: audit, clock, finish, jobs, ready, record, steps, tallies
-- record read_held: state chain timeout lane plugin webhook endBy step
-- values read_step: step

grace_from(1)
retention_from(2)
local plugin, id, verb = ARGV[6], ARGV[7], ARGV[8]
local state = job_state(id)
local FROM = {
  pause = { running = true, paused = true },
  resume = { running = true, paused = true, planning = true },
  cancel = { running = true, paused = true, planning = true, cancelled = true },
}

local function pause()
  redis.call('HSET', KEY.replay(id), 'state', 'paused', 'token', '', 'leaseEnd', '')
  job_alarm_off(id)
end

-- Gives a chain that has not begun its full time again, counted from now, whether or not a worker has seen it since.
local function give_time(ref)
  local r = read_held(ref)
  if not r or FINAL[r.state] or r.chain ~= '1' or r.step ~= '-1' then return end
  r.deadline = int(now + tonumber(r.timeout))
  redis.call('HSET', KEY.record(ref), 'deadline', r.deadline)
  tally_open(tally_of(r.plugin, r.webhook), ref, ends_by(r))
end

-- Makes a held call ready.
local function release_held(ref)
  local r = read_held(ref)
  if not r or FINAL[r.state] then return end
  redis.call('HSET', KEY.record(ref), 'parked', '')
  make_ready(ref, r.lane)
end

local function resume()
  job_wake(id) -- first: the job must not be running without an alarm
  redis.call('HSET', KEY.replay(id), 'state', 'running')
  for _, ref in ipairs(redis.call('SMEMBERS', KEY.replay_open(id))) do give_time(ref) end
  for _, ref in ipairs(redis.call('ZRANGE', KEY.replay_parked(id), 0, -1)) do release_held(ref) end
  redis.call('DEL', KEY.replay_parked(id))
end

-- Cancels a call that no worker has claimed; a chain that has begun goes on.
local function cancel_call(ref)
  local r = read_unsent(ref)
  if not r or (r.state ~= 'queued' and r.state ~= 'retrying') then return end
  if r.chain == '1' and read_step(ref) ~= '-1' then return end
  finish(r, { state = 'cancelled', outcome = '', status = '', error = '', result = '', token = '' })
end

-- Writes that a job is cancelled, with all of its counts in one command; what follows may be repeated.
local function write_cancelled()
  local matched = redis.call('LLEN', KEY.replay_ids(id))
  local left = matched - redis.call('LLEN', KEY.replay_decided(id))
  local skipped = number(redis.call('HGET', KEY.replay(id), 'skipped')) + left
  redis.call('HSET', KEY.replay(id), 'state', 'cancelled', 'matched', int(matched), 'token', '', 'leaseEnd', '',
    'skipped', int(skipped), 'skipped:cancelled', int(left))
end

local function cancel()
  if state ~= 'cancelled' then write_cancelled() end
  job_alarm_off(id)
  redis.call('DEL', KEY.replay_seen(id))
  for _, ref in ipairs(redis.call('SMEMBERS', KEY.replay_open(id))) do cancel_call(ref) end
  job_may_end(id)
end

local DONE = { pause = 'paused', resume = 'running', cancel = 'cancelled' }

local function note(outcome)
  audit('replay_' .. verb, ARGV[9], plugin, id, '', outcome, '', '', '')
end

if state == 'gone' or redis.call('HGET', KEY.replay(id), 'plugin') ~= plugin then
  note('not_found')
  return { 'unknown', '', ready }
end
if not FROM[verb][state] then
  note('conflict')
  return { 'refused', state, ready }
end
note(state == DONE[verb] and 'unchanged' or DONE[verb])
if verb == 'pause' and state == 'running' then pause() end
if verb == 'resume' and state == 'paused' then resume() end
if verb == 'cancel' and redis.call('HEXISTS', KEY.replay(id), 'finishedAt') == 0 then cancel() end
flush_all()
return { 'done', redis.call('HGET', KEY.replay(id), 'state'), ready }
