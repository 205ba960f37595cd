-- advance: creates the invocations of the next step of n chains, and makes their parents wait for them.
--
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2-5 retention ms: ok, failed, rejected, contents (0: as records)
--       6 how many step invocations one outermost chain may make  7 n, then n times:
--       token  parent's reference id  number of the step  texts that the chain hides in the step's answers, sealed
--       m, then m times: ref webhook revision timeout_ms repeatable payload requestBytes chain pins age_ms callback
-- Returns {per parent: advanced, late (another worker has the parent, or it is final), ended (its deadline has passed, a
--          chain above it is over, or its replay job was cancelled and it has not begun), paused (its replay job is, and
--          it has not begun: it waits for the resume), or too_many (nothing was created; it stays in `sending`),
--          ready: ref, lane, ..., rows (lib/rows.lua) of the first of these}
--
-- Idempotent: a step that exists is not created again. A parent whose step exists and has ended is made ready.

local alarms = require('alarms')
local conclude = require('conclude')
local constants = require('constants')
local effects = require('effects')
local fields = require('fields')
local finish = require('finish')
local jobs = require('jobs')
local KEY = require('keys')
local numbers = require('numbers')
local permits = require('permits')
local policy = require('policy')
local ready = require('ready')
local record = require('record')
local rows = require('rows')
local steps = require('steps')
local int, number = numbers.int, numbers.number

local read_parent = fields.record('state', 'callback', 'token', 'lastToken', 'plugin', 'webhook', 'requestBytes',
  'waiters', 'parked', 'parent', 'chain', 'lane', 'caller', 'traceparent', 'step', 'open', 'root', 'deadline',
  'createdAt', 'replay', 'subject')

local read_made = fields.values('made')

local HEAD, WIDTH = 5, 11

-- For a repeated call: returns the step's calls that no worker has claimed yet as ready again.
local function ready_again(run, parent_ref)
  for _, ref in ipairs(redis.call('LRANGE', KEY.steps(run, parent_ref), 0, -1)) do
    local r = steps.read_state_and_lane(run, ref)
    if r and r.state == 'queued' then
      -- the first run was stopped
      if not alarms.is_set(run, ref, r.lane) then alarms.set_queued(run, ref, r.lane, run.now + run.grace) end
      ready.add(run, ref, r.lane)
    end
  end
end

-- Creates a call of the parent's step, whose arguments begin at `at`; returns its id.
local function create(run, p, step, item, at)
  local args = run.args
  local new = {
    ref = args[at], plugin = p.plugin, webhook = args[at + 1], revision = args[at + 2], lane = p.lane,
    timeout = args[at + 3], repeatable = args[at + 4], payload = args[at + 5], requestBytes = args[at + 6],
    caller = p.caller, traceparent = p.traceparent, waiter = '', chain = args[at + 7], pins = args[at + 8],
    age = tonumber(args[at + 9]), callback = args[at + 10],
    parent = p.ref, step = int(step), item = int(item), root = p.root, subject = p.subject,
  }
  record.write(run, new, 'queued')
  alarms.set_queued_at_end(run, new.ref, new.lane, run.now + run.grace)
  ready.add(run, new.ref, new.lane)
  return new.ref
end

-- Creates a step's calls, whose arguments begin at `at`, unless the outermost chain would make too many; returns whether
-- it did.
local function make_step(run, p, step, secrets, count, at)
  if number(read_made(run, p.root)) + count > run.most then return false end
  redis.call('SET', KEY.secrets(run, p.ref), secrets, 'PX', constants.CHAIN_KEPT_MS)
  local made = {}
  for index = 1, count do made[index] = create(run, p, step, index - 1, at + (index - 1) * WIDTH) end
  -- A run that was stopped here may have added them already.
  if count > 0 and not redis.call('LPOS', KEY.steps(run, p.ref), made[1]) then
    effects.in_pieces('RPUSH', KEY.steps(run, p.ref), made, 1)
    redis.call('HINCRBY', KEY.record(run, p.root), 'made', count)
  end
  return true
end

local function wait_for_steps(run, p, token, step, open)
  redis.call('HSET', KEY.record(run, p.ref), 'state', open > 0 and 'waiting' or 'queued', 'token', '', 'lastToken', token,
    'leaseEnd', '', 'losses', '0', 'step', int(math.max(step, number(p.step))), 'open', int(open))
  permits.release(run, policy.of(run, p.plugin, p.webhook), p.ref)
  if open > 0 then
    alarms.set_running(run, p.ref, p.lane, p.deadline)
  else
    ready.make(run, p.ref, p.lane)
  end
end

-- Gives a parent back at its present step.
local function put_back(run, p, token)
  redis.call('HSET', KEY.record(run, p.ref), 'state', 'queued', 'token', '', 'lastToken', token, 'leaseEnd', '',
    'losses', '0')
  permits.release(run, policy.of(run, p.plugin, p.webhook), p.ref)
end

-- Returns whether a parent must not be run any further: its next claim ends it.
local function is_stopped(run, p)
  return record.is_orphaned_step(run, p.parent, p.root) or conclude.steered_by(run, p) == 'cancelled'
end

-- For a call that has been advanced before, with a reply that was lost.
local function advanced_before(run, p)
  if record.FINAL[p.state] then return 'ended' end
  if is_stopped(run, p) then
    if p.state == 'queued' then ready.add(run, p.ref, p.lane) end
    return 'ended'
  end
  ready_again(run, p.ref)
  return 'advanced'
end

-- Advances one parent; the arguments are listed in the header, and those of its step's calls begin at `at`.
local function advance(run, token, parent_ref, step, secrets, count, at)
  local p = read_parent(run, parent_ref)
  if not p then return 'late' end
  if record.ended_with(p, token) then return advanced_before(run, p) end
  if p.state ~= 'sending' or p.token ~= token then return 'late' end
  if conclude.steered_by(run, p) == 'paused' then
    put_back(run, p, token)
    jobs.hold(run, p)
    return 'paused'
  end
  if number(p.deadline) <= run.now then
    finish.call(run, p, {
      state = 'unreachable', outcome = 'chain_timeout', status = '0', error = '1', result = '', token = token,
    })
    finish.cancel_steps(run, parent_ref)
    return 'ended'
  end
  if is_stopped(run, p) then
    put_back(run, p, token)
    ready.make(run, p.ref, p.lane)
    return 'ended'
  end
  if number(p.step) >= step then
    wait_for_steps(run, p, token, step, number(p.open))
  elseif make_step(run, p, step, secrets, count, at) then
    wait_for_steps(run, p, token, step, count)
  else
    return 'too_many'
  end
  return 'advanced'
end

local function main(run)
  ready.read_grace(run, 1)
  finish.read_retention(run, 2)
  run.most = tonumber(run.args[6])

  local verdicts, at = {}, 8
  for index = 1, tonumber(run.args[7]) do
    local token, parent_ref, step, secrets, count = unpack(run.args, at, at + HEAD - 1)
    count = tonumber(count)
    verdicts[index] = advance(run, token, parent_ref, tonumber(step), secrets, count, at + HEAD)
    at = at + HEAD + count * WIDTH
  end
  finish.flush(run)
  return { verdicts, run.ready, rows.of_ready(run) }
end

return { kind = 'confirms', is_fenced = true, run = main }
