-- advance: takes n chains further. Each makes the calls of its next step and waits for them, or it ends.
--
-- KEYS  1 the root of the partition
-- ARGV  1 margin_ms  2 grace_ms  3-6 retention ms: ok, failed, rejected, contents (0: as records)
--       7 how many calls the steps of one outermost chain may make  8 n, then n times:
--       token (new for each decision)  reference id  how many calls its steps had made when this was decided
--       step: its number, from 0; '' to end the chain, then:
--         state outcome status error masked result raw reason (as in settle)
--       else: texts that the chain hides in the step's answers, sealed  m (at least 1), then m times:
--         ref webhook revision timeout_ms repeatable payload requestBytes chain pins age_ms callback
-- Returns {now, {per chain: verdict, state, more ('' for none)}, ready: ref, lane, ..., rows (lib/rows.lua) of the first
--         of these}; verdict: granted (it waits, or has ended as asked), or as a claim returns them: parked, skipped
--         (also if its steps have made other calls since), ended (more: the outcome; `step_rejected` for a step that
--         would make too many calls)
--
-- Idempotent: a step is made once, and a chain that was advanced with this token is recognised; if it has ended,
-- skipped is returned.

local admission = require('admission')
local alarms = require('alarms')
local constants = require('constants')
local effects = require('effects')
local fields = require('fields')
local finish = require('finish')
local KEY = require('keys')
local leases = require('leases')
local numbers = require('numbers')
local parking = require('parking')
local permits = require('permits')
local policy = require('policy')
local ready = require('ready')
local record = require('record')
local rows = require('rows')
local steps = require('steps')
local int, number = numbers.int, numbers.number

local read_made = fields.values('made')

local HEAD, END, CALL = 4, 8, 11 -- how many arguments each has

-- Creates a call of a chain's step, whose arguments begin at `at`; returns its id.
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

-- Makes a step's calls, whose arguments begin at `at`, and has the chain wait for them.
local function make_step(run, p, token, step, secrets, count, at)
  redis.call('SET', KEY.secrets(run, p.ref), secrets, 'PX', constants.CHAIN_KEPT_MS)
  local made = {}
  for index = 1, count do made[index] = create(run, p, step, index - 1, at + (index - 1) * CALL) end
  -- A run that was stopped here may have added them already.
  if not redis.call('LPOS', KEY.steps(run, p.ref), made[1]) then
    effects.in_pieces('RPUSH', KEY.steps(run, p.ref), made, 1)
    redis.call('HINCRBY', KEY.record(run, p.root), 'made', count)
  end
  redis.call('HSET', KEY.record(run, p.ref), 'state', 'waiting', 'token', '', 'lastToken', token, 'leaseEnd', '',
    'losses', '0', 'step', int(step), 'open', int(count), 'notBefore', '', 'parked', '')
  local w = policy.of(run, p.plugin, p.webhook)
  if p.state == 'sending' then permits.release(run, w, p.ref) end -- a worker of release 0.2 had claimed it
  if p.parked == '1' then parking.unpark_unsent(run, w, p.ref) end
  alarms.set_running(run, p.ref, p.lane, p.deadline)
  return 'granted', 'waiting'
end

-- Ends a chain whose step would make too many calls.
local function reject_step(run, p, token, step)
  finish.call(run, p, {
    state = 'unreachable', outcome = 'step_rejected', status = '0', error = '1', result = '', token = token,
    fields = { 'reason', 'step ' .. step .. ': the chain has made as many calls as it may' },
  })
  return 'ended', 'unreachable', 'step_rejected'
end

-- Ends a chain as the worker asks.
local function finish_chain(run, p, token, state, outcome, status, error, masked, result, raw, reason)
  local more = {}
  if masked ~= '0' then
    effects.sum_count(effects.sums_of(run, p.plugin), 'masked', number(masked))
    record.set_field(more, 'masked', masked)
  end
  record.add_field(more, 'reason', reason)
  finish.with_answer(run, p, {
    state = state, outcome = outcome, status = status, error = error, result = result, token = token, fields = more,
  }, raw)
  return 'granted', state
end

-- Returns the calls of a chain's step that no worker has claimed yet as ready again: the first reply was lost.
local function advanced_before(run, p)
  for _, ref in ipairs(redis.call('LRANGE', KEY.steps(run, p.ref), 0, -1)) do
    local r = steps.read_state_and_lane(run, ref)
    if r and r.state == 'queued' then
      -- the first run was stopped
      if not alarms.is_set(run, ref, r.lane) then alarms.set_queued(run, ref, r.lane, run.now + run.grace) end
      ready.add(run, ref, r.lane)
    end
  end
  return 'granted', p.state
end

-- Returns whether something was decided on the calls that the chain has made: that these are `made`, or that a run
-- which was stopped has already added the step's first call, `first`.
local function is_current(run, ref, made, first)
  local key = KEY.steps(run, ref)
  return redis.call('LLEN', key) == made or (first and redis.call('LPOS', key, first))
end

-- Advances one chain; the arguments are listed in the header, and the last ones begin at `at`.
local function advance(run, token, ref, made, step, at)
  local args = run.args
  local p = admission.read(run, ref)
  if not p or p.chain ~= '1' then return 'skipped', 'gone' end
  if p.lastToken == token and not record.FINAL[p.state] then return advanced_before(run, p) end
  run.token, run.caller_token = token, token
  local verdict, state, more = admission.refuse(run, p, true, false)
  if verdict then return verdict, state, more end
  if not is_current(run, ref, made, step and args[at + 2]) then return 'skipped', p.state end
  if step and number(p.step) >= step then return 'skipped', p.state end
  if not step then return finish_chain(run, p, token, unpack(args, at, at + END - 1)) end
  local secrets, count = args[at], tonumber(args[at + 1])
  if number(read_made(run, p.root)) + count > run.most then return reject_step(run, p, token, step) end
  return make_step(run, p, token, step, secrets, count, at + 2)
end

local function main(run)
  leases.read_margin(run, 1)
  ready.read_grace(run, 2)
  finish.read_retention(run, 3)
  run.most = tonumber(run.args[7])

  local replies, at = {}, 9
  for index = 1, tonumber(run.args[8]) do
    local token, ref, made, step = unpack(run.args, at, at + HEAD - 1)
    step = tonumber(step)
    at = at + HEAD
    local verdict, state, more = advance(run, token, ref, tonumber(made), step, at)
    replies[3 * index - 2] = verdict
    replies[3 * index - 1] = state
    replies[3 * index] = more or ''
    at = at + (step and 2 + tonumber(run.args[at + 1]) * CALL or END)
  end
  finish.flush(run)
  return { run.now, replies, run.ready, rows.of_ready(run) }
end

return { kind = 'confirms', is_fenced = true, run = main }
