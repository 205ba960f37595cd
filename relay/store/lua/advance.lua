-- advance: creates the invocations of a chain's next step, and lets the parent wait for them.
--
-- KEYS  1 the root of the partition
-- ARGV  1 token  2 grace_ms  3-6 retention ms: ok, failed, rejected, contents (0: as records)
--       7 how many step invocations one outermost chain may make
--       8 parent's reference id  9 number of the step  10 texts that the chain hides in the step's answers, sealed
--       11 n, then n times:
--       ref webhook revision timeout_ms repeatable payload requestBytes chain pins age_ms callback
-- Returns {verdict, ready: ref, lane, ...}; verdict: advanced, late (another worker has the parent, or it is final),
--         ended (its deadline has passed, or a chain above it is over), too_many (nothing was created; the parent stays
--         in `sending`)
--
-- Idempotent: a step that exists is not created again. A parent whose step exists and has ended is made ready.
-- needs: alarms, clock, effects, finish, places, record, steps
-- record read_parent: state callback token lastToken plugin webhook requestBytes waiters parked parent chain lane caller
--   traceparent step open root deadline createdAt replay

local WIDTH = 11
local SECRETS_MS = 3600000 -- longer than any chain may take
local token, parent_ref, step, count = ARGV[1], ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[11])
grace_from(2)
retention_from(3)
local most = tonumber(ARGV[7])

local p = read_parent(parent_ref)

-- For a repeated call: returns the step's calls that no worker has claimed yet as ready again.
local function ready_again()
  for _, ref in ipairs(redis.call('LRANGE', KEY.steps(parent_ref), 0, -1)) do
    local r = read_lane(ref)
    if r and r.state == 'queued' then
      add_ready(ref, r.lane)
    end
  end
end

local made = {} -- reference ids of the new steps

local function create(index)
  local at = 12 + (index - 1) * WIDTH
  local new = {
    ref = ARGV[at], plugin = p.plugin, webhook = ARGV[at + 1], revision = ARGV[at + 2], lane = p.lane,
    timeout = ARGV[at + 3], repeatable = ARGV[at + 4], payload = ARGV[at + 5], requestBytes = ARGV[at + 6],
    caller = p.caller, traceparent = p.traceparent, waiter = '', chain = ARGV[at + 7], pins = ARGV[at + 8],
    age = tonumber(ARGV[at + 9]), callback = ARGV[at + 10],
    parent = parent_ref, step = int(step), item = int(index - 1), root = p.root,
  }
  write_record(new, 'queued')
  made[index] = new.ref
  alarm_queued_at_end(new.ref, new.lane, now + grace)
  add_ready(new.ref, new.lane)
end

-- Returns whether a chain above this one is over. Nothing is created then, and the next claim of this one ends it.
local function is_left_over()
  return is_over(p.parent) or (p.root ~= parent_ref and is_over(p.root))
end

local function wait_for_steps(open)
  redis.call('HSET', KEY.record(parent_ref), 'state', open > 0 and 'waiting' or 'queued', 'token', '',
    'lastToken', token, 'leaseEnd', '', 'losses', '0', 'step', int(math.max(step, number(p.step))), 'open', int(open))
  leave_place(webhook_of(p.plugin, p.webhook), parent_ref)
  if open > 0 then
    alarm_running(parent_ref, p.lane, p.deadline)
  else
    make_ready(parent_ref, p.lane)
  end
end

if not p then return { 'late', ready } end
if ended_with(p, token) then
  if FINAL[p.state] then return { 'ended', ready } end
  if is_left_over() then
    if p.state == 'queued' then add_ready(parent_ref, p.lane) end
    return { 'ended', ready }
  end
  ready_again()
  return { 'advanced', ready }
end
if p.state ~= 'sending' or p.token ~= token then return { 'late', ready } end
if number(p.deadline) <= now then
  finish(p, { state = 'unreachable', outcome = 'chain_timeout', status = '0', error = '1', result = '', token = token })
  cancel_steps(parent_ref)
  flush_all()
  return { 'ended', ready }
end
if is_left_over() then
  wait_for_steps(0)
  flush_all()
  return { 'ended', ready }
end
if number(p.step) >= step then
  wait_for_steps(number(p.open))
else
  if number(redis.call('HGET', KEY.record(p.root), 'made')) + count > most then return { 'too_many', ready } end
  redis.call('HINCRBY', KEY.record(p.root), 'made', count)
  redis.call('SET', KEY.secrets(parent_ref), ARGV[10], 'PX', SECRETS_MS)
  for index = 1, count do create(index) end
  in_pieces('RPUSH', KEY.steps(parent_ref), made, 1)
  wait_for_steps(count)
end
flush_all()
return { 'advanced', ready }
