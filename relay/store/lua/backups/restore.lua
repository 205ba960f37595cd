-- restore: decides about calls and replay jobs that were not final in the backup that the store was restored from, and
-- does nothing unless the partition is fenced. What may not be repeated ends as interrupted: it may have been sent
-- since. Other calls get an attempt that says so, and continue. A job makes no more calls.
--
-- KEYS  1 the root of the partition
-- ARGV  1-4 retention ms: ok, failed, rejected, contents (0: as records)  5 n, then n times: reference id, or an id of a
--       job with its prefix; '1' if it has to end though its record says that it is repeatable (a chain)
-- Returns {how many calls ended, how many continue that were not decided about before, how many jobs were ended}
--
-- A repeated call finds what is left to do.

local conclude = require('conclude')
local effects = require('effects')
local fields = require('fields')
local finish = require('finish')
local jobs = require('jobs')
local KEY = require('keys')
local numbers = require('numbers')
local record = require('record')
local int, number = numbers.int, numbers.number

local read_restored = fields.record('state', 'callback', 'token', 'plugin', 'webhook', 'requestBytes', 'waiters',
  'parked', 'parent', 'chain', 'lane', 'createdAt', 'replay', 'attempts', 'repeatable')

local TOKEN = 'restored' -- replaces that of a worker that is gone: its answer, should it still come, is late

-- Ends a call and, for a chain, all its steps.
local function end_call(run, r)
  if r.chain ~= '1' then conclude.add_attempt(run, r, run.now, 'restored', 'maybe') end
  finish.call(run, r, {
    state = 'interrupted', outcome = 'restored', status = '0', error = '1', result = '', sent = 'maybe', token = TOKEN,
    fields = { 'attempts', r.attempts },
  })
  run.ended = run.ended + 1
  if r.chain ~= '1' then return end
  for _, ref in ipairs(redis.call('LRANGE', KEY.steps(run, r.ref), 0, -1)) do
    local step = read_restored(run, ref)
    if step and not record.FINAL[step.state] then end_call(run, step) end
  end
end

local function look_at_call(run, ref, has_to_end)
  local r = read_restored(run, ref)
  if not r or record.FINAL[r.state] then return end
  if has_to_end or r.repeatable ~= '1' then return end_call(run, r) end
  if r.chain == '1' then -- it makes no attempts itself; it may have sent steps that the backup does not know
    redis.call('HSET', KEY.record(run, ref), 'restored', '1')
    return
  end
  if string.find(r.attempts, '"restored"', 1, true) then return end
  conclude.add_attempt(run, r, run.now, 'restored', 'maybe')
  redis.call('HSET', KEY.record(run, ref), 'attempts', r.attempts)
  run.going_on = run.going_on + 1
end

-- Skips the originals that a job has not decided about: they may have been replayed since.
local function look_at_job_left(run, id)
  local state = jobs.state_of(run, id)
  if state ~= 'planning' and state ~= 'running' and state ~= 'paused' then return end
  local matched = redis.call('LLEN', KEY.replay_ids(run, id))
  local left, decided = matched - redis.call('LLEN', KEY.replay_decided(run, id)), {}
  if state ~= 'planning' and left <= 0 then return end
  for index = 1, left do decided[index] = 'restored' end
  if redis.call('HEXISTS', KEY.replay(run, id), 'skipped:restored') == 0 then
    local skipped = number(redis.call('HGET', KEY.replay(run, id), 'skipped')) + left
    redis.call('HSET', KEY.replay(run, id), 'state', state == 'paused' and state or 'running', 'matched', int(matched),
      'token', '', 'leaseEnd', '', 'skipped', int(skipped), 'skipped:restored', int(left))
  end
  effects.in_pieces('RPUSH', KEY.replay_decided(run, id), decided, 1)
  jobs.may_end(run, id)
  run.jobs_ended = run.jobs_ended + 1
end

local function main(run)
  finish.read_retention(run, 1)
  run.ended, run.going_on, run.jobs_ended = 0, 0, 0

  if not redis.call('HGET', KEY.pending(run), 'fence') then return { 0, 0, 0 } end
  for index = 6, 4 + 2 * tonumber(run.args[5]), 2 do
    local ref = run.args[index]
    if string.sub(ref, 1, #jobs.PREFIX) == jobs.PREFIX then
      look_at_job_left(run, string.sub(ref, #jobs.PREFIX + 1))
    else
      look_at_call(run, ref, run.args[index + 1] == '1')
    end
  end
  finish.flush(run)
  return { run.ended, run.going_on, run.jobs_ended }
end

return { kind = 'confirms', run = main }
