-- restore: decides about calls and replay jobs that were not final at the backup that the store was restored from, and
-- does nothing unless the partition is fenced. What may not be repeated ends as interrupted: it may have been sent
-- since. Other calls get an attempt that says so, and go on. A job makes no more calls.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1-4 retention ms: ok, failed, rejected, contents (0: as records)  5 n, then n times: reference id, or an id of a
--       job with its prefix; '1' if it has to end though its record says that it is repeatable (a chain)
-- Returns {how many calls ended, how many go on that were not decided about before, how many jobs were ended}
--
-- A repeated call finds what is left to do.
-- needs: clock, conclude, effects, finish, jobs, record
-- record read_restored: state callback token plugin webhook requestBytes waiters parked parent chain lane createdAt replay
--   attempts repeatable

retention_from(1)
local TOKEN = 'restored' -- replaces that of a worker that is gone: its answer, should it still come, is late
local ended, going_on, jobs_ended = 0, 0, 0

-- Ends a call and, of a chain, all steps.
local function end_call(r)
  if r.chain ~= '1' then add_attempt(r, now, 'restored', 'maybe') end
  finish(r, {
    state = 'interrupted', outcome = 'restored', status = '0', error = '1', result = '', sent = 'maybe', token = TOKEN,
    fields = { 'attempts', r.attempts },
  })
  ended = ended + 1
  if r.chain ~= '1' then return end
  for _, ref in ipairs(redis.call('LRANGE', KEY.steps(r.ref), 0, -1)) do
    local step = read_restored(ref)
    if step and not FINAL[step.state] then end_call(step) end
  end
end

local function look_at_call(ref, has_to_end)
  local r = read_restored(ref)
  if not r or FINAL[r.state] then return end
  if has_to_end or r.repeatable ~= '1' then return end_call(r) end
  if r.chain == '1' then -- it makes no attempts itself; steps of it may have been sent that the backup does not know
    redis.call('HSET', KEY.record(ref), 'restored', '1')
    return
  end
  if string.find(r.attempts, '"restored"', 1, true) then return end
  add_attempt(r, now, 'restored', 'maybe')
  redis.call('HSET', KEY.record(ref), 'attempts', r.attempts)
  going_on = going_on + 1
end

-- Skips the originals that a job has not decided about: they may have been replayed since.
local function look_at_job_left(id)
  local state = job_state(id)
  if state ~= 'planning' and state ~= 'running' and state ~= 'paused' then return end
  local matched = redis.call('LLEN', KEY.replay_ids(id))
  local left, decided = matched - redis.call('LLEN', KEY.replay_decided(id)), {}
  if state ~= 'planning' and left <= 0 then return end
  for index = 1, left do decided[index] = 'restored' end
  if redis.call('HEXISTS', KEY.replay(id), 'skipped:restored') == 0 then
    local skipped = number(redis.call('HGET', KEY.replay(id), 'skipped')) + left
    redis.call('HSET', KEY.replay(id), 'state', state == 'paused' and state or 'running', 'matched', int(matched),
      'token', '', 'leaseEnd', '', 'skipped', int(skipped), 'skipped:restored', int(left))
  end
  in_pieces('RPUSH', KEY.replay_decided(id), decided, 1)
  redis.call('DEL', KEY.replay_seen(id))
  job_may_end(id)
  jobs_ended = jobs_ended + 1
end

if not redis.call('HGET', KEY.pending(), 'fence') then return { 0, 0, 0 } end
for index = 6, 4 + 2 * tonumber(ARGV[5]), 2 do
  local ref = ARGV[index]
  if string.sub(ref, 1, #JOB_PREFIX) == JOB_PREFIX then
    look_at_job_left(string.sub(ref, #JOB_PREFIX + 1))
  else
    look_at_call(ref, ARGV[index + 1] == '1')
  end
end
flush_all()
return { ended, going_on, jobs_ended }
