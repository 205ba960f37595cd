-- advance: creates the invocations of the next step of n chains, and lets their parents wait for them.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2-5 retention ms: ok, failed, rejected, contents (0: as records)
--       6 how many step invocations one outermost chain may make  7 n, then n times:
--       token  parent's reference id  number of the step  texts that the chain hides in the step's answers, sealed
--       m, then m times: ref webhook revision timeout_ms repeatable payload requestBytes chain pins age_ms callback
-- Returns {per parent: advanced, late (another worker has the parent, or it is final), ended (its deadline has passed, a
--          chain above it is over, or its replay job was cancelled and it has not begun), paused (its replay job is, and
--          it has not begun: it waits for the resume), or too_many (nothing was created; it stays in `sending`),
--          ready: ref, lane, ..., rows (include/rows.lua) of the first of these}
--
-- Idempotent: a step that exists is not created again. A parent whose step exists and has ended is made ready.
-- needs: alarms, clock, conclude, effects, finish, jobs, permits, policy, ready, record, rows, steps
-- record read_parent: state callback token lastToken plugin webhook requestBytes waiters parked parent chain lane
--   caller traceparent step open root deadline createdAt replay subject
-- values read_made: made

local HEAD, WIDTH = 5, 11
grace_from(1)
retention_from(2)
local most = tonumber(ARGV[6])

-- For a repeated call: returns the step's calls that no worker has claimed yet as ready again.
local function ready_again(parent_ref)
  for _, ref in ipairs(redis.call('LRANGE', KEY.steps(parent_ref), 0, -1)) do
    local r = read_state_and_lane(ref)
    if r and r.state == 'queued' then
      if not has_alarm(ref, r.lane) then alarm_queued(ref, r.lane, now + grace) end -- the first run was stopped
      add_ready(ref, r.lane)
    end
  end
end

-- Creates a call of the parent's step, whose arguments begin at `at`; returns its id.
local function create(p, step, item, at)
  local new = {
    ref = ARGV[at], plugin = p.plugin, webhook = ARGV[at + 1], revision = ARGV[at + 2], lane = p.lane,
    timeout = ARGV[at + 3], repeatable = ARGV[at + 4], payload = ARGV[at + 5], requestBytes = ARGV[at + 6],
    caller = p.caller, traceparent = p.traceparent, waiter = '', chain = ARGV[at + 7], pins = ARGV[at + 8],
    age = tonumber(ARGV[at + 9]), callback = ARGV[at + 10],
    parent = p.ref, step = int(step), item = int(item), root = p.root, subject = p.subject,
  }
  write_record(new, 'queued')
  alarm_queued_at_end(new.ref, new.lane, now + grace)
  add_ready(new.ref, new.lane)
  return new.ref
end

-- Creates a step's calls, whose arguments begin at `at`, unless the outermost chain would make too many; returns whether
-- it did.
local function make_step(p, step, secrets, count, at)
  if number(read_made(p.root)) + count > most then return false end
  redis.call('SET', KEY.secrets(p.ref), secrets, 'PX', CHAIN_KEPT_MS)
  local made = {}
  for index = 1, count do made[index] = create(p, step, index - 1, at + (index - 1) * WIDTH) end
  -- A run that was stopped here may have added them already.
  if count > 0 and not redis.call('LPOS', KEY.steps(p.ref), made[1]) then
    in_pieces('RPUSH', KEY.steps(p.ref), made, 1)
    redis.call('HINCRBY', KEY.record(p.root), 'made', count)
  end
  return true
end

local function wait_for_steps(p, token, step, open)
  redis.call('HSET', KEY.record(p.ref), 'state', open > 0 and 'waiting' or 'queued', 'token', '', 'lastToken', token,
    'leaseEnd', '', 'losses', '0', 'step', int(math.max(step, number(p.step))), 'open', int(open))
  release_permit(webhook_of(p.plugin, p.webhook), p.ref)
  if open > 0 then
    alarm_running(p.ref, p.lane, p.deadline)
  else
    make_ready(p.ref, p.lane)
  end
end

-- Gives a parent back, as far as it has come.
local function put_back(p, token)
  redis.call('HSET', KEY.record(p.ref), 'state', 'queued', 'token', '', 'lastToken', token, 'leaseEnd', '', 'losses', '0')
  release_permit(webhook_of(p.plugin, p.webhook), p.ref)
end

-- Returns whether nothing more of a parent is to be run: its next claim ends it.
local function is_stopped(p)
  return is_orphaned_step(p.parent, p.root) or steered_by(p) == 'cancelled'
end

-- For a call that has been advanced before, with a reply that was lost.
local function advanced_before(p)
  if FINAL[p.state] then return 'ended' end
  if is_stopped(p) then
    if p.state == 'queued' then add_ready(p.ref, p.lane) end
    return 'ended'
  end
  ready_again(p.ref)
  return 'advanced'
end

-- Advances one parent; the arguments are listed in the header, and those of its step's calls begin at `at`.
local function advance(token, parent_ref, step, secrets, count, at)
  local p = read_parent(parent_ref)
  if not p then return 'late' end
  if ended_with(p, token) then return advanced_before(p) end
  if p.state ~= 'sending' or p.token ~= token then return 'late' end
  if steered_by(p) == 'paused' then
    put_back(p, token)
    wait_for_job(p)
    return 'paused'
  end
  if number(p.deadline) <= now then
    finish(p, { state = 'unreachable', outcome = 'chain_timeout', status = '0', error = '1', result = '', token = token })
    cancel_steps(parent_ref)
    return 'ended'
  end
  if is_stopped(p) then
    put_back(p, token)
    make_ready(p.ref, p.lane)
    return 'ended'
  end
  if number(p.step) >= step then
    wait_for_steps(p, token, step, number(p.open))
  elseif make_step(p, step, secrets, count, at) then
    wait_for_steps(p, token, step, count)
  else
    return 'too_many'
  end
  return 'advanced'
end

local verdicts, at = {}, 8
for index = 1, tonumber(ARGV[7]) do
  local token, parent_ref, step, secrets, count = unpack(ARGV, at, at + HEAD - 1)
  count = tonumber(count)
  verdicts[index] = advance(token, parent_ref, tonumber(step), secrets, count, at + HEAD)
  at = at + HEAD + count * WIDTH
end
flush_all()
return { verdicts, ready, rows_of_ready() }
