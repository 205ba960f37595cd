-- admission: decides whether a call that a worker asks for may go on now, and parks, skips or ends it otherwise.
--
-- r: a record as `admission.read` returns it.

local alarms = require('alarms')
local breaker = require('breaker')
local conclude = require('conclude')
local fields = require('fields')
local finish = require('finish')
local jobs = require('jobs')
local KEY = require('keys')
local numbers = require('numbers')
local parking = require('parking')
local permits = require('permits')
local policy = require('policy')
local record = require('record')
local int, number = numbers.int, numbers.number

local admission = {}

admission.read = fields.record('state', 'callback', 'token', 'leaseEnd', 'notBefore', 'plugin', 'webhook', 'timeout',
  'repeatable', 'losses', 'attempts', 'requestBytes', 'waiters', 'lastToken', 'parked', 'parker', 'createdAt', 'lane',
  'chain', 'deadline', 'parent', 'replay', 'step', 'endBy', 'root', 'caller', 'traceparent', 'subject')

-- Puts a call whose worker was lost, and which will be sent again, into the state queued or retrying.
local function keep(run, r, state, not_before)
  redis.call('HSET', KEY.record(run, r.ref), 'state', state, 'token', '', 'leaseEnd', '', 'notBefore', not_before,
    'losses', r.losses, 'attempts', r.attempts)
  if r.state == 'sending' then permits.give_up(run, policy.of(run, r.plugin, r.webhook), r.ref) end
end

-- Wakes a parked call when a call ends that had no permit and was not parked, as `over` does in a repeated claim. The
-- end of any other call wakes one anyway.
local function wake_for_end(run, r)
  if r.state ~= 'sending' and r.parked ~= '1' then permits.wake_one_at_end(policy.of(run, r.plugin, r.webhook)) end
end

local function stop(run, r, state, outcome)
  wake_for_end(run, r)
  return conclude.without_answer(run, r, state, outcome)
end

local function stop_aged(run, r)
  wake_for_end(run, r)
  return conclude.as_too_old(run, r)
end

local function stop_at_breaker(run, r, w)
  if w.retry then
    local not_before = int(breaker.held_until(run, w))
    keep(run, r, 'retrying', not_before)
    redis.call('HSET', KEY.record(run, r.ref), 'held', '1', 'pause', int(breaker.held_until(run, w) - run.now))
    if r.parked == '1' then
      redis.call('HSET', KEY.record(run, r.ref), 'parked', '')
      parking.unpark_unsent(run, w, r.ref)
    end
    alarms.set_running(run, r.ref, r.lane, not_before)
    return 'skipped', 'retrying'
  end
  conclude.add_attempt(run, r, run.now, 'breaker_open', 'no')
  return stop(run, r, 'unreachable', 'breaker_open')
end

-- Applies the state of its replay job to a call that has not been sent.
local function stopped_by_job(run, r, w)
  local state = conclude.steered_by(run, r)
  if state == 'cancelled' then return stop(run, r, 'cancelled', '') end
  if state ~= 'paused' then
    if r.parked == 'job' then
      redis.call('ZREM', KEY.replay_parked(run, r.replay), r.ref)
      redis.call('HSET', KEY.record(run, r.ref), 'parked', '')
    end
    return nil
  end
  if r.state == 'sending' then
    keep(run, r, 'queued', '')
    permits.wake_one_at_end(w)
  end
  if r.parked == '1' then parking.unpark_unsent(run, w, r.ref) end
  jobs.hold(run, r)
  return 'parked', r.state
end

-- Returns whether no running call will wake a call that is parked now: no call runs any more, or the webhook was read
--         as full but has a free permit now. The latter counts once, as a worker without capacity would park the call
--         again; it counts again if this claim is repeated because its reply was lost.
function admission.has_no_waker(run, w, is_new, was_full)
  return permits.taken(run, w) == 0 or (was_full and is_new and permits.capacity(run, w) >= 1)
end

-- Parks a call for which the worker has no capacity, or whose webhook was read as full; running calls of the webhook wake
-- it.
local function park_unwanted(run, r, w, was_full)
  if admission.has_no_waker(run, w, r.parked ~= '1' or r.parker == run.token, was_full) then
    permits.wake_one_at_end(w)
    redis.call('HSET', KEY.record(run, r.ref), 'parker', run.token)
  end
  parking.park(run, w, r.ref, r.lane, r.createdAt)
  return 'parked', r.state
end

-- Parks a call that the worker does not want, or that may not go now; stops it if its replay job is over.
local function stop_or_park(run, r, w, wanted, was_full)
  if r.replay ~= '' then
    local verdict, state, more = stopped_by_job(run, r, w)
    if verdict then return verdict, state, more end
  end
  if not wanted then return park_unwanted(run, r, w, was_full) end
  if breaker.state(run, w) == 'open' then return stop_at_breaker(run, r, w) end
  if permits.capacity(run, w) >= 1 then return nil end
  if r.state == 'sending' then keep(run, r, 'queued', '') end
  parking.park(run, w, r.ref, r.lane, r.createdAt)
  return 'parked', r.state
end

-- Records the attempt of a worker that is gone; then lets the call go again, or ends it.
local function lost(run, r, w, parent_is_over)
  local again = conclude.note_loss(run, r) and not parent_is_over and not conclude.is_removed(run, r, w)
    and conclude.steered_by(run, r) ~= 'cancelled'
  if not again then return conclude.without_answer(run, r, 'interrupted', 'lease_lost') end
  if conclude.is_aged(run, r) then return conclude.as_too_old(run, r) end
  return stop_or_park(run, r, w, true)
end

local function may_go(run, r)
  return (r.state == 'queued' or r.state == 'retrying') and number(r.notBefore) <= run.now
end

-- Skips a final call. If this same script run ended it and the reply was lost, the ids that its end made ready are found
-- again.
local function over(run, r)
  if record.ended_with(r, run.token) then finish.again(run, r) end
  return 'skipped', r.state
end

-- Returns nothing if a call may go on now; else what was done with it: the verdict, its state and, if it was ended, the
-- outcome, as the claim's header lists them. `wanted`: whether the worker has capacity for it; `was_full`: whether its
-- webhook was read as full.
function admission.refuse(run, r, wanted, was_full)
  if r.plugin == '' or r.webhook == '' then return 'skipped', 'damaged' end
  if record.FINAL[r.state] then return over(run, r) end
  if conclude.is_out_of_time(run, r) then return stop(run, r, 'unreachable', 'chain_timeout') end
  if r.state == 'sending' and number(r.leaseEnd) > run.now then return 'skipped', r.state end
  local w = policy.of(run, r.plugin, r.webhook)
  if r.state == 'sending' then return lost(run, r, w, record.is_orphaned_step(run, r.parent, r.root)) end
  if conclude.is_aged(run, r) then return stop_aged(run, r) end
  if conclude.is_removed(run, r, w) then return stop(run, r, 'rejected', 'webhook_not_registered') end
  if not may_go(run, r) then return 'skipped', r.state end
  if record.is_orphaned_step(run, r.parent, r.root) then return stop(run, r, 'cancelled', '') end
  return stop_or_park(run, r, w, wanted, was_full)
end

return admission
