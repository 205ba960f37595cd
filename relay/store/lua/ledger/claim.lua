-- claim: takes n invocations, each with a lease until now + timeout + margin, and parks others: those for which the
-- worker has no capacity (the webhook has its share of the process), and those that were read as full. Chains send
-- nothing themselves: `advance` takes them further without a claim.
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

local admission = require('admission')
local alarms = require('alarms')
local breaker = require('breaker')
local conclude = require('conclude')
local constants = require('constants')
local fields = require('fields')
local finish = require('finish')
local KEY = require('keys')
local numbers = require('numbers')
local parking = require('parking')
local permits = require('permits')
local policy = require('policy')
local ready = require('ready')
local record = require('record')
local int, number, whole = numbers.int, numbers.number, numbers.whole

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
  if w.every or parked == '1' or admission.has_no_waker(run, w, true, was_full) then return nil end
  parking.park_queued(run, w, ref, lane, created)
  return 'parked', state
end

local function claim_any(run, ref, wanted, was_full)
  local r = admission.read(run, ref)
  if not r then return 'skipped', 'gone' end
  if r.state == 'sending' and r.token == run.token then return granted_before(run, r) end
  local verdict, state, more = admission.refuse(run, r, wanted, was_full)
  if verdict then return verdict, state, more end
  if r.chain == '1' then return 'skipped', r.state end
  grant(run, policy.of(run, r.plugin, r.webhook), ref, r.lane, run.now + tonumber(r.timeout) + run.lease_margin,
    r.parked == '1', 'notBefore', '', 'losses', r.losses, 'attempts', r.attempts, 'parked', '', 'held', '')
  return 'granted', 'sending', r.attempts == '' and (r.notBefore ~= '' and r.notBefore or r.createdAt) or ''
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
