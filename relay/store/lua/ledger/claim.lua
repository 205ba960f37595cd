-- claim: takes n invocations, each with a lease until now + timeout + margin, and parks others: those for which the
-- worker has no capacity (the webhook has its share of the process), and those that were read as full. A chain's parent
-- sends nothing itself: its lease is the margin.
--
-- KEYS  1 the root of the partition
-- ARGV  1 token (new for each claim)  2 margin_ms  3 grace_ms  4-7 retention ms: ok, failed, rejected, contents
--       (0: as records)  8 n  9 m
--       10... n reference ids to take, m to park that were read as full, then those to park for want of capacity
-- Returns {now, {per id: verdict, state, more ('' for none)}, ready: ref, lane, ...}; verdict: granted (more: for a
--         call that is sent for the first time, since when (ms) it could have been sent), parked, skipped (it may not
--         be sent now, or never again), ended (this claim ended it: a lost call, an open breaker, a chain past its
--         deadline, a step whose chain is over; more: the outcome; a repeated claim returns skipped)
--
-- Idempotent: the same token is granted the same calls again, and leaseEnd does not move. A lost worker's token does
-- not become lastToken, so that its answer, should it still come, is late. A call that was parked although it may go
-- records the claim that parked it (parker): if that claim is repeated, it returns the call as ready again.

local alarms = require('alarms')
local breaker = require('breaker')
local conclude = require('conclude')
local constants = require('constants')
local fields = require('fields')
local finish = require('finish')
local jobs = require('jobs')
local KEY = require('keys')
local leases = require('leases')
local numbers = require('numbers')
local parking = require('parking')
local permits = require('permits')
local policy = require('policy')
local ready = require('ready')
local record = require('record')
local int, number, whole = numbers.int, numbers.number, numbers.whole

local read_claimable = fields.record('state', 'callback', 'token', 'leaseEnd', 'notBefore', 'plugin', 'webhook',
  'timeout', 'repeatable', 'losses', 'attempts', 'requestBytes', 'waiters', 'lastToken', 'parked', 'parker',
  'createdAt', 'lane', 'chain', 'deadline', 'parent', 'replay', 'step', 'endBy', 'root')

-- Like `fields.values`, but written out, which is faster: nearly every call is read this way.
local function read_plain(run, ref)
  local f = fields.read(run, ref, 'state', 'plugin', 'webhook', 'timeout', 'lane', 'createdAt', 'attempts', 'parked',
    'replay', 'endBy', 'notBefore', 'root')
  return f[1], f[2], f[3], whole(f[4]) or f[1] and '0', constants.IS_LANE[f[5]] and f[5] or f[1] and constants.LAST_LANE,
    whole(f[6]) or f[1] and numbers.created_of(ref), f[7], f[8], f[9], whole(f[10]), whole(f[11]), f[12]
end

-- Gives a call its permit and its lease; `...`: further fields of the record, as pairs.
local function grant(run, w, ref, lane, lease_end, was_parked, ...)
  redis.call('HSET', KEY.record(run, ref), 'state', 'sending', 'token', run.token, 'leaseEnd', int(lease_end), ...)
  permits.take(run, w, ref, lease_end)
  if was_parked then parking.unpark(w, ref) end
  alarms.unset_queued(run, ref, lane)
  alarms.set_running_at_end(run, ref, lease_end)
end

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

local function admit(run, r, w)
  if breaker.state(run, w) == 'open' then return stop_at_breaker(run, r, w) end
  if permits.capacity(run, w) >= 1 then
    grant(run, w, r.ref, r.lane, run.now + leases.length_of(run, r), r.parked == '1', 'notBefore', '', 'losses',
      r.losses, 'attempts', r.attempts, 'parked', '', 'held', '')
    return 'granted', 'sending', r.attempts == '' and (r.notBefore ~= '' and r.notBefore or r.createdAt) or ''
  end
  if r.state == 'sending' then keep(run, r, 'queued', '') end
  parking.park(run, w, r.ref, r.lane, r.createdAt)
  return 'parked', r.state
end

-- Applies the state of its replay job to a call that has not been sent.
local function stopped_by_job(run, r, w)
  local state = conclude.steered_by(run, r)
  if state == 'cancelled' then return stop(run, r, 'cancelled', '') end
  if state ~= 'paused' then
    if r.parked == 'job' then
      redis.call('ZREM', KEY.replay_parked(run, r.replay), r.ref)
      redis.call('HSET', KEY.record(run, r.ref), 'parked', '')
      r.parked = ''
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
local function has_no_waker(run, w, is_new, was_full)
  return permits.taken(run, w) == 0 or (was_full and is_new and permits.capacity(run, w) >= 1)
end

-- Parks a call for which the worker has no capacity, or whose webhook was read as full; running calls of the webhook wake
-- it.
local function park_unwanted(run, r, w, was_full)
  if has_no_waker(run, w, r.parked ~= '1' or r.parker == run.token, was_full) then
    permits.wake_one_at_end(w)
    redis.call('HSET', KEY.record(run, r.ref), 'parker', run.token)
  end
  parking.park(run, w, r.ref, r.lane, r.createdAt)
  return 'parked', r.state
end

-- Grants or parks a call as the worker asks, unless its replay job is paused or cancelled.
local function grant_or_park(run, r, w, wanted, was_full)
  if r.replay ~= '' then
    local verdict, state, more = stopped_by_job(run, r, w)
    if verdict then return verdict, state, more end
  end
  if wanted then return admit(run, r, w) end
  return park_unwanted(run, r, w, was_full)
end

-- Records the attempt of a worker that is gone; then claims the call again, or ends it.
local function lost(run, r, w, parent_is_over)
  local again = conclude.note_loss(run, r) and not parent_is_over and not conclude.is_removed(run, r, w)
    and conclude.steered_by(run, r) ~= 'cancelled'
  if not again then return conclude.without_answer(run, r, 'interrupted', 'lease_lost') end
  if conclude.is_aged(run, r) then return conclude.as_too_old(run, r) end
  return grant_or_park(run, r, w, true)
end

local function may_go(run, r)
  return (r.state == 'queued' or r.state == 'retrying') and number(r.notBefore) <= run.now
end

-- Skips a final call. If this same claim ended it and the reply was lost, the ids that its end made ready are found
-- again.
local function over(run, r)
  if record.ended_with(r, run.token) then finish.again(run, r) end
  return 'skipped', r.state
end

-- Grants again what this same claim granted; the ids that it made ready, which were in the lost reply, are found again.
local function granted_before(run, r)
  local w = policy.of(run, r.plugin, r.webhook)
  w.spent = w.every ~= nil
  return 'granted', r.state
end

-- Claims or parks a call that is tried for the first time: nearly every call is one, and few fields of its record are
-- needed. Returns nothing if more of the record matters.
local function claim_plain(run, ref, wanted, was_full)
  local state, plugin, webhook, timeout, lane, created, attempts, parked, replay, end_by, not_before, root =
    read_plain(run, ref)
  if state ~= 'queued' or (attempts or '') ~= '' or parked == 'job' or replay or not (plugin and webhook) then
    return nil
  end
  if (end_by and tonumber(end_by) <= run.now) or number(not_before) > run.now then return nil end
  local position = record.chain_position(run, ref, root)
  if position.chain ~= '' or record.is_orphaned_step(run, position.parent, root) then return nil end
  local w = policy.of(run, plugin, webhook)
  if w.removed > 0 and position.parent == '' and conclude.is_older(run, ref, w) then return nil end
  if wanted then
    if breaker.state(run, w) == 'open' or permits.capacity(run, w) < 1 then return nil end
    local lease_end = run.now + tonumber(timeout) + run.lease_margin
    if parked == '1' then
      grant(run, w, ref, lane, lease_end, true, 'parked', '')
    else
      grant(run, w, ref, lane, lease_end, false)
    end
    return 'granted', 'sending', (not_before or '') ~= '' and not_before or created
  end
  if w.every or parked == '1' or has_no_waker(run, w, true, was_full) then return nil end
  parking.park_queued(run, w, ref, lane, created)
  return 'parked', state
end

local function claim_any(run, ref, wanted, was_full)
  local r = read_claimable(run, ref)
  if not r then return 'skipped', 'gone' end
  if r.plugin == '' or r.webhook == '' then return 'skipped', 'damaged' end
  if record.FINAL[r.state] then return over(run, r) end
  if r.state == 'sending' and r.token == run.token then return granted_before(run, r) end
  if conclude.is_out_of_time(run, r) then return stop(run, r, 'unreachable', 'chain_timeout') end
  if r.state == 'sending' and number(r.leaseEnd) > run.now then return 'skipped', r.state end
  local w = policy.of(run, r.plugin, r.webhook)
  if r.state == 'sending' then return lost(run, r, w, record.is_orphaned_step(run, r.parent, r.root)) end
  if conclude.is_aged(run, r) then return stop_aged(run, r) end
  if conclude.is_removed(run, r, w) then return stop(run, r, 'rejected', 'webhook_not_registered') end
  if not may_go(run, r) then return 'skipped', r.state end
  if record.is_orphaned_step(run, r.parent, r.root) then return stop(run, r, 'cancelled', '') end
  return grant_or_park(run, r, w, wanted, was_full)
end

local function main(run)
  local count, full = tonumber(run.args[8]), tonumber(run.args[9])
  run.token = run.args[1]
  conclude.read_arguments(run, 1, 2)
  ready.read_grace(run, 3)
  finish.read_retention(run, 4)

  local replies = {}
  for index = 1, #run.args - 9 do
    local ref, wanted, was_full = run.args[9 + index], index <= count, index <= count + full
    local verdict, state, more = claim_plain(run, ref, wanted, was_full)
    if not verdict then verdict, state, more = claim_any(run, ref, wanted, was_full) end
    replies[3 * index - 2] = verdict
    replies[3 * index - 1] = state
    replies[3 * index] = more or ''
  end
  finish.flush(run)
  return { run.now, replies, run.ready }
end

return { kind = 'confirms', is_fenced = true, run = main }
