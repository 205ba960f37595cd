-- replay_create: decides about a job's next originals, and makes their invocations. Runs without allow-oom: a full
-- server refuses new work.
--
-- KEYS  1 the root of the partition
-- ARGV  1 replay id  2 token  3 lease_ms  4 grace_ms  5 the job's cursor  6 n, then n times, for the originals from
--       that cursor on: ref ('' if it would have been skipped), revision ('' if its webhook is not registered),
--       timeout_ms, repeatable, payload ('' if it could not be opened), chain, pins, age_ms, callback
-- Returns {verdict, cursor, wait_ms, ready: ref, lane, ...}; verdict: on; decided (there are no more); full (enough of
--         its calls are unfinished; their ends wake the job); paced (not before wait_ms have passed); stale (a
--         registration has changed since it was read); again (an original has to be read again); late (the job has
--         another holder, or is not running)
--
-- The decisions are kept in the order of the originals, and their number is the job's cursor. So a repeated call changes
-- nothing, and returns the cursor and those of the last calls that no worker has claimed yet. A call is run even if the
-- script is stopped before it has recorded the decision: then its original counts as replayed.

local constants = require('constants')
local effects = require('effects')
local held = require('held')
local jobs = require('jobs')
local KEY = require('keys')
local int = require('numbers').int
local originals = require('originals')
local rates = require('rates')
local ready = require('ready')
local record = require('record')
local revisions = require('revisions')
local tallies = require('tallies')

local WIDTH = 9
local LEAST_RATE = 0.001 -- MIN_RATE in relay/replay/planning.py, for jobs that are older than that limit, or damaged

local function new_at(run, index)
  local args = run.args
  local at = 7 + (index - 1) * WIDTH
  return {
    ref = args[at], revision = args[at + 1], timeout = args[at + 2], repeatable = args[at + 3], payload = args[at + 4],
    chain = args[at + 5], pins = args[at + 6], age = tonumber(args[at + 7]), callback = args[at + 8],
  }
end

-- Returns what prevents the replay of an original for now; nothing if it can be made.
local function hindrance(run, new, r)
  if new.ref == '' or redis.call('EXISTS', KEY.record(run, new.ref)) == 1 then return 'again' end
  if not revisions.are_current(run, r.plugin, r.webhook, new.revision, new.pins) then return 'stale' end
  if #run.made >= run.left then return 'full' end
  return run.every and rates.capacity(run.tat, run.now, run.every) < 1 and 'paced' or nil
end

local function create(run, new, r, last)
  new.plugin, new.webhook, new.lane, new.requestBytes = r.plugin, r.webhook, constants.JOB_LANE, r.requestBytes
  new.subject = r.subject
  new.caller = constants.OWN_CALLERS[r.caller] and r.caller or run.job.caller
  new.traceparent, new.waiter, new.replay, new.replay_of = '', '', run.id, r.ref
  -- first, so that it will be run
  redis.call('ZADD', KEY.due_queued(run, constants.JOB_LANE), int(run.now + run.grace), new.ref)
  if new.revision == '' then
    new.revision, new.timeout, new.repeatable = '0', r.timeout, originals.is_surely_repeatable(r) and '1' or '0'
  end
  record.write(run, new, 'queued')
  redis.call('HSET', KEY.record(run, r.ref), 'replayedBy', new.ref)
  redis.call('HSET', KEY.record(run, new.ref), 'follows', last.ref)
  if last ~= r then redis.call('HSET', KEY.record(run, last.ref), 'replayedBy', new.ref) end
  ready.add(run, new.ref, constants.JOB_LANE)
  run.made[#run.made + 1] = new.ref
  if run.every then run.tat = run.tat + run.every end
end

-- Decides about the next original; returns what prevents that, or nothing.
local function decide_original(run, index)
  local new = new_at(run, index)
  local why, r, last = originals.judge(run, run.originals[#run.originals + 1 - index], run.job)
  if not why then
    local hindered = hindrance(run, new, r)
    if hindered then return hindered end
    if new.payload == '' then why = 'unreadable' else create(run, new, r, last) end
  end
  if why then run.skips[why] = (run.skips[why] or 0) + 1 end
  table.insert(run.decided, why or new.ref)
end

local function write_down(run)
  effects.in_pieces('RPUSH', KEY.replay_decided(run, run.id), run.decided, 1)
  effects.in_pieces('SADD', KEY.replay_open(run, run.id), run.made, 1)
  for why, skipped in pairs(run.skips) do
    redis.call('HINCRBY', KEY.replay(run, run.id), 'skipped', skipped)
    redis.call('HINCRBY', KEY.replay(run, run.id), 'skipped:' .. why, skipped)
  end
  if #run.made > 0 then redis.call('HINCRBY', KEY.replay(run, run.id), 'started', #run.made) end
  if run.every then redis.call('HSET', KEY.replay(run, run.id), 'tat', string.format('%.3f', run.tat)) end
end

local function main(run)
  local lease_ms, count = tonumber(run.args[3]), tonumber(run.args[6])
  run.id = run.args[1]
  ready.read_grace(run, 4)
  run.job = held.job(run, run.id, run.args[2], 'running')
  if not run.job then return { 'late', -1, 0, run.ready } end
  local cursor = redis.call('LLEN', KEY.replay_decided(run, run.id))
  if cursor ~= tonumber(run.args[5]) then
    for _, ref in ipairs(redis.call('LRANGE', KEY.replay_decided(run, run.id), run.args[5], cursor - 1)) do
      if record.read_state(run, ref) == 'queued' then ready.make(run, ref, constants.JOB_LANE) end
    end
    return { 'again', cursor, 0, run.ready }
  end

  -- The burst is a tenth of a second's worth.
  run.every = run.job.rate and 1000 / math.max(LEAST_RATE, run.job.rate)
  local burst = run.every and math.max(1, math.floor(100 / run.every))
  run.tat = run.every and rates.time(run.job.tat, run.now, run.every, burst, constants.UNNOTICED)
  run.left = jobs.MOST - redis.call('SCARD', KEY.replay_open(run, run.id))
  run.originals = redis.call('LRANGE', KEY.replay_ids(run, run.id), -cursor - count, -cursor - 1)
  run.decided, run.skips, run.made = {}, {}, {}

  local verdict = 'on'
  for index = 1, #run.originals do
    local hindered = run.looked_at > originals.MOST_LOOKED_AT and 'on' or decide_original(run, index)
    if hindered then
      verdict = hindered
      break
    end
  end
  write_down(run)
  tallies.flush(run)
  effects.flush(run)
  cursor = cursor + #run.decided
  if cursor == run.job.matched then
    verdict = 'decided'
    jobs.leave(run, run.id, jobs.ALARM)
    jobs.may_end(run, run.id)
  elseif verdict == 'full' then
    jobs.leave(run, run.id, jobs.ALARM)
    redis.call('HSET', KEY.replay(run, run.id), 'waits', '1')
  else
    held.renew_lease(run, run.id, lease_ms)
  end
  return { verdict, cursor, run.every and math.max(0, math.ceil(run.tat + run.every - run.now)) or 0, run.ready }
end

return { kind = 'confirms', may_be_refused = true, is_fenced = true, run = main }
