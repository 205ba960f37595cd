-- claim: takes n invocations, each with a lease until now + timeout + margin, and parks others: those for which the
-- worker has no capacity (the webhook has its share of the process), and those that were read as full. A chain's parent
-- sends nothing itself: its lease is the margin.
--
-- kind: confirms
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
-- not become lastToken, so that its answer, should it still come, is late. A call that was parked although it might go
-- records the claim that parked it (parker): if that claim is repeated, it returns the call as ready again.
-- needs: alarms, breaker, clock, conclude, finish, jobs, leases, parking, permits, policy, ready, record
-- record read_claimable: state callback token leaseEnd notBefore plugin webhook timeout repeatable losses attempts
--   requestBytes waiters lastToken parked parker createdAt lane chain deadline parent replay step endBy root
-- values read_plain: state plugin webhook timeout lane createdAt attempts parked replay endBy notBefore root

local token, count, full = ARGV[1], tonumber(ARGV[8]), tonumber(ARGV[9])
conclude_from(1, 2)
grace_from(3)
retention_from(4)

-- Gives a call its permit and its lease; `...`: further fields of the record, as pairs.
local function grant(w, ref, lane, lease_end, was_parked, ...)
  redis.call('HSET', KEY.record(ref), 'state', 'sending', 'token', token, 'leaseEnd', int(lease_end), ...)
  take_permit(w, ref, lease_end)
  if was_parked then unpark(w, ref) end
  alarm_queued_off(ref, lane)
  alarm_running_at_end(ref, lease_end)
end

-- Makes a call whose worker was lost, and which will be sent again, queued or retrying.
local function keep(r, state, not_before)
  redis.call('HSET', KEY.record(r.ref), 'state', state, 'token', '', 'leaseEnd', '', 'notBefore', not_before,
    'losses', r.losses, 'attempts', r.attempts)
  if r.state == 'sending' then give_up_permit(webhook_of(r.plugin, r.webhook), r.ref) end
end

-- Wakes a parked call when a call ends that had no permit and was not parked, as `over` does in a repeated claim; the
-- end of any other call wakes one anyway.
local function wake_for_end(r)
  if r.state ~= 'sending' and r.parked ~= '1' then wake_one_at_end(webhook_of(r.plugin, r.webhook)) end
end

local function stop(r, state, outcome)
  wake_for_end(r)
  return conclude(r, state, outcome)
end

local function stop_aged(r)
  wake_for_end(r)
  return conclude_aged(r)
end

local function stop_at_breaker(r, w)
  if w.retry then
    local not_before = int(held_until(w))
    keep(r, 'retrying', not_before)
    redis.call('HSET', KEY.record(r.ref), 'held', '1', 'pause', int(held_until(w) - now))
    if r.parked == '1' then
      redis.call('HSET', KEY.record(r.ref), 'parked', '')
      unpark_unsent(w, r.ref)
    end
    alarm_running(r.ref, r.lane, not_before)
    return 'skipped', 'retrying'
  end
  add_attempt(r, now, 'breaker_open', 'no')
  return stop(r, 'unreachable', 'breaker_open')
end

local function admit(r, w)
  if breaker(w) == 'open' then return stop_at_breaker(r, w) end
  if capacity(w) >= 1 then
    grant(w, r.ref, r.lane, now + lease_of(r), r.parked == '1', 'notBefore', '', 'losses', r.losses, 'attempts', r.attempts,
      'parked', '', 'held', '')
    return 'granted', 'sending', r.attempts == '' and (r.notBefore ~= '' and r.notBefore or r.createdAt) or ''
  end
  if r.state == 'sending' then keep(r, 'queued', '') end
  park(w, r.ref, r.lane, r.createdAt)
  return 'parked', r.state
end

-- Applies the state of its replay job to a call that has not been sent.
local function stopped_by_job(r, w)
  local state = steered_by(r)
  if state == 'cancelled' then return stop(r, 'cancelled', '') end
  if state ~= 'paused' then
    if r.parked == 'job' then
      redis.call('ZREM', KEY.replay_parked(r.replay), r.ref)
      redis.call('HSET', KEY.record(r.ref), 'parked', '')
      r.parked = ''
    end
    return nil
  end
  if r.state == 'sending' then
    keep(r, 'queued', '')
    wake_one_at_end(w)
  end
  if r.parked == '1' then unpark_unsent(w, r.ref) end
  wait_for_job(r)
  return 'parked', r.state
end

-- Returns whether no running call will wake a call that is parked now: no call runs any more, or the webhook was read
--         as full and has a free permit since. The latter counts once, as a worker without capacity would park the call
--         again; it counts again if this claim is repeated because its reply was lost.
local function has_no_waker(w, is_new, was_full)
  return permits_taken(w) == 0 or (was_full and is_new and capacity(w) >= 1)
end

-- Parks a call for which the worker has no capacity, or whose webhook was read as full; running calls of the webhook wake
-- it.
local function park_unwanted(r, w, was_full)
  if has_no_waker(w, r.parked ~= '1' or r.parker == token, was_full) then
    wake_one_at_end(w)
    redis.call('HSET', KEY.record(r.ref), 'parker', token)
  end
  park(w, r.ref, r.lane, r.createdAt)
  return 'parked', r.state
end

-- Grants or parks a call as the worker asks, unless its replay job is paused or cancelled.
local function grant_or_park(r, w, wanted, was_full)
  if r.replay ~= '' then
    local verdict, state, more = stopped_by_job(r, w)
    if verdict then return verdict, state, more end
  end
  if wanted then return admit(r, w) end
  return park_unwanted(r, w, was_full)
end

-- Records the attempt of a worker that is gone; then claims the call again, or ends it.
local function lost(r, w, parent_is_over)
  local again = note_loss(r) and not parent_is_over and not is_removed(r, w) and steered_by(r) ~= 'cancelled'
  if not again then return conclude(r, 'interrupted', 'lease_lost') end
  if is_aged(r) then return conclude_aged(r) end
  return grant_or_park(r, w, true)
end

local function may_go(r)
  return (r.state == 'queued' or r.state == 'retrying') and number(r.notBefore) <= now
end

-- Skips a final call. If this same claim ended it, and the reply was lost, the ids that its end made ready are found
-- again.
local function over(r)
  if ended_with(r, token) then end_again(r) end
  return 'skipped', r.state
end

-- Grants again what this same claim granted; the ids that it made ready, which the lost reply held, are found again.
local function granted_before(r)
  local w = webhook_of(r.plugin, r.webhook)
  w.spent = w.every ~= nil
  return 'granted', r.state
end

-- Claims or parks a call that is tried for the first time: nearly every call is one, and few fields of its record are
-- needed. Returns nothing if more of the record matters.
local function claim_plain(ref, wanted, was_full)
  local state, plugin, webhook, timeout, lane, created, attempts, parked, replay, end_by, not_before, root =
    read_plain(ref)
  if state ~= 'queued' or (attempts or '') ~= '' or parked == 'job' or replay or not (plugin and webhook) then return nil end
  if (end_by and tonumber(end_by) <= now) or number(not_before) > now then return nil end
  local position = chain_position(ref, root)
  if position.chain ~= '' or is_orphaned_step(position.parent, root) then return nil end
  local w = webhook_of(plugin, webhook)
  if w.removed > 0 and position.parent == '' and is_older(ref, w) then return nil end
  if wanted then
    if breaker(w) == 'open' or capacity(w) < 1 then return nil end
    local lease_end = now + tonumber(timeout) + lease_margin
    if parked == '1' then
      grant(w, ref, lane, lease_end, true, 'parked', '')
    else
      grant(w, ref, lane, lease_end, false)
    end
    return 'granted', 'sending', (not_before or '') ~= '' and not_before or created
  end
  if w.every or parked == '1' or has_no_waker(w, true, was_full) then return nil end
  park_queued(w, ref, lane, created)
  return 'parked', state
end

local function claim_any(ref, wanted, was_full)
  local r = read_claimable(ref)
  if not r then return 'skipped', 'gone' end
  if r.plugin == '' or r.webhook == '' then return 'skipped', 'damaged' end
  if FINAL[r.state] then return over(r) end
  if r.state == 'sending' and r.token == token then return granted_before(r) end
  if is_out_of_time(r) then return stop(r, 'unreachable', 'chain_timeout') end
  if r.state == 'sending' and number(r.leaseEnd) > now then return 'skipped', r.state end
  local w = webhook_of(r.plugin, r.webhook)
  if r.state == 'sending' then return lost(r, w, is_orphaned_step(r.parent, r.root)) end
  if is_aged(r) then return stop_aged(r) end
  if is_removed(r, w) then return stop(r, 'rejected', 'webhook_not_registered') end
  if not may_go(r) then return 'skipped', r.state end
  if is_orphaned_step(r.parent, r.root) then return stop(r, 'cancelled', '') end
  return grant_or_park(r, w, wanted, was_full)
end

local replies = {}
for index = 1, #ARGV - 9 do
  local ref, wanted, was_full = ARGV[9 + index], index <= count, index <= count + full
  local verdict, state, more = claim_plain(ref, wanted, was_full)
  if not verdict then verdict, state, more = claim_any(ref, wanted, was_full) end
  replies[3 * index - 2] = verdict
  replies[3 * index - 1] = state
  replies[3 * index] = more or ''
end
flush_all()
return { now, replies, ready }
