-- replay_create: decides about a job's next originals, and makes their invocations. Runs without allow-oom: a full
-- server refuses new work.
--
-- kind: confirms
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
-- nothing, and returns the cursor, and those of the last calls that no worker has claimed yet. A call is run even if the
-- script is stopped before it has written that down: then its original counts as replayed.
-- needs: clock, effects, held, jobs, originals, rates, ready, record, revisions, tallies

local WIDTH = 9
local LEAST_RATE = 0.001 -- as MIN_RATE in relay/replay/planning.py, for jobs that are older than it, or damaged
local id, lease_ms, count = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[6])
grace_from(4)
local job = held_job(id, ARGV[2], 'running')
if not job then return { 'late', -1, 0, ready } end
local cursor = redis.call('LLEN', KEY.replay_decided(id))
if cursor ~= tonumber(ARGV[5]) then
  for _, ref in ipairs(redis.call('LRANGE', KEY.replay_decided(id), ARGV[5], cursor - 1)) do
    if read_state(ref) == 'queued' then make_ready(ref, JOB_LANE) end
  end
  return { 'again', cursor, 0, ready }
end

-- The burst is a tenth of a second's worth.
local every = job.rate and 1000 / math.max(LEAST_RATE, job.rate)
local burst = every and math.max(1, math.floor(100 / every))
local tat = every and rate_time(job.tat, now, every, burst, every + UNNOTICED)
local left = JOB_MOST - redis.call('SCARD', KEY.replay_open(id))
local originals = redis.call('LRANGE', KEY.replay_ids(id), -cursor - count, -cursor - 1)
local decided, skips, made = {}, {}, {}

local function new_at(index)
  local at = 7 + (index - 1) * WIDTH
  return {
    ref = ARGV[at], revision = ARGV[at + 1], timeout = ARGV[at + 2], repeatable = ARGV[at + 3], payload = ARGV[at + 4],
    chain = ARGV[at + 5], pins = ARGV[at + 6], age = tonumber(ARGV[at + 7]), callback = ARGV[at + 8],
  }
end

-- Returns what prevents a replay of an original for now; nothing if it can be made.
local function hindrance(new, r)
  if new.ref == '' or redis.call('EXISTS', KEY.record(new.ref)) == 1 then return 'again' end
  if current_revision(r.plugin, r.webhook) ~= new.revision then return 'stale' end
  if #made >= left then return 'full' end
  return every and tat > now and 'paced' or nil
end

local function create(new, r, last)
  new.plugin, new.webhook, new.lane, new.requestBytes = r.plugin, r.webhook, JOB_LANE, r.requestBytes
  new.subject = r.subject
  new.caller = OWN_CALLERS[r.caller] and r.caller or job.caller
  new.traceparent, new.waiter, new.replay, new.replay_of = '', '', id, r.ref
  redis.call('ZADD', KEY.due_queued(JOB_LANE), int(now + grace), new.ref) -- first: see to it that it is run
  if new.revision == '' then
    new.revision, new.timeout, new.repeatable = '0', r.timeout, is_surely_repeatable(r) and '1' or '0'
  end
  write_record(new, 'queued')
  redis.call('HSET', KEY.record(r.ref), 'replayedBy', new.ref)
  redis.call('HSET', KEY.record(new.ref), 'follows', last.ref)
  if last ~= r then redis.call('HSET', KEY.record(last.ref), 'replayedBy', new.ref) end
  add_ready(new.ref, JOB_LANE)
  made[#made + 1] = new.ref
  if every then tat = tat + every end
end

-- Decides about the next original; returns what prevents that, or nothing.
local function decide_original(index)
  local new = new_at(index)
  local why, r, last = judge_original(originals[#originals + 1 - index], job)
  if not why then
    local hindered = hindrance(new, r)
    if hindered then return hindered end
    if new.payload == '' then why = 'unreadable' else create(new, r, last) end
  end
  if why then skips[why] = (skips[why] or 0) + 1 end
  table.insert(decided, why or new.ref)
end

local function write_down()
  in_pieces('RPUSH', KEY.replay_decided(id), decided, 1)
  in_pieces('SADD', KEY.replay_open(id), made, 1)
  for why, skipped in pairs(skips) do
    redis.call('HINCRBY', KEY.replay(id), 'skipped', skipped)
    redis.call('HINCRBY', KEY.replay(id), 'skipped:' .. why, skipped)
  end
  if #made > 0 then redis.call('HINCRBY', KEY.replay(id), 'started', #made) end
  if every then redis.call('HSET', KEY.replay(id), 'tat', string.format('%.3f', tat)) end
end

local verdict = 'on'
for index = 1, #originals do
  local hindered = looked_at > MOST_LOOKED_AT and 'on' or decide_original(index)
  if hindered then
    verdict = hindered
    break
  end
end
write_down()
tallies_flush()
effects_flush()
cursor = cursor + #decided
if cursor == job.matched then
  verdict = 'decided'
  job_leave(id, JOB_ALARM)
  job_may_end(id)
elseif verdict == 'full' then
  job_leave(id, JOB_ALARM)
  redis.call('HSET', KEY.replay(id), 'waits', '1')
else
  renew_lease(id, lease_ms)
end
return { verdict, cursor, every and math.max(0, math.ceil(tat - now)) or 0, ready }
