-- claim: take n invocations to send them, each until now + timeout + margin; park those that their worker has no room
-- for (the webhook has its share of the process).
--
-- KEYS  none
-- ARGV  1 token (one a claim call)  2 margin_ms  3 grace_ms  4-6 retention ms: ok, failed, rejected  7 n
--       8... n reference ids to take, then those to park
-- Returns {now, per id {verdict, state}, ready: ref, lane, ...}; verdict: granted, parked, skipped (not now, or not
--         any more), ended (this claim ended it: a lost call, or an open breaker)
--
-- Idempotent: the same token is granted again what it was granted, and leaseEnd does not move. A lost holder's token
-- does not become lastToken: its answer, should it still come, is late.
-- include: clock, effects, places, finish

local LOSSES = 3 -- so many lost leases end even a repeatable call
local token, margin, grace, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[7])
retention_from(4)
local leases = {}

local function add_attempt(r, started, outcome, sent)
  local attempt = string.format('[%s,%s,0,"%s","%s"]', int(started), int(now - started), outcome, sent)
  r.attempts = r.attempts == '' and attempt or (r.attempts .. ',' .. attempt)
  r.tries = int(tonumber(r.tries) + 1)
end

local function grant(ref, r, w)
  local lease_end = now + tonumber(r.timeout) + margin
  redis.call('HSET', KEY.record(ref), 'state', 'sending', 'token', token, 'leaseEnd', int(lease_end),
    'notBefore', '', 'losses', r.losses, 'attempts', r.attempts, 'tries', r.tries, 'parked', '')
  take_place(w, ref, lease_end)
  if r.parked == '1' then unpark(w, ref) end
  redis.call('ZREM', KEY.due_queued(), ref)
  leases[#leases + 1] = int(lease_end)
  leases[#leases + 1] = ref
  return { 'granted', 'sending' }
end

-- A call that was being sent when its worker was lost, and that is kept, is queued or retrying from here on.
local function keep(ref, r, state, not_before)
  redis.call('HSET', KEY.record(ref), 'state', state, 'token', '', 'leaseEnd', '', 'notBefore', not_before,
    'losses', r.losses, 'attempts', r.attempts, 'tries', r.tries)
  if r.state == 'sending' then redis.call('ZREM', KEY.running(r.plugin, r.webhook), ref) end
end

local function stop_at_breaker(ref, r, w)
  if w.retry then
    keep(ref, r, 'retrying', int(held_until(w)))
    redis.call('ZREM', KEY.due_queued(), ref)
    redis.call('ZADD', KEY.due_running(), int(held_until(w)), ref)
    return { 'skipped', 'retrying' }
  end
  add_attempt(r, now, 'breaker_open', 'no')
  finish(ref, r, {
    state = 'unreachable', outcome = 'breaker_open', status = '0', error = '1', result = '', token = token,
    fields = { 'attempts', r.attempts, 'tries', r.tries },
  })
  return { 'ended', 'unreachable' }
end

local function admit(ref, r, w)
  if breaker(w) == 'open' then return stop_at_breaker(ref, r, w) end
  if room(w) >= 1 then return grant(ref, r, w) end
  if r.state == 'sending' then keep(ref, r, 'queued', '') end
  park(w, ref, r.created)
  return { 'parked', r.state }
end

-- The worker that held the lease is gone: record its attempt, then take the call again or say so.
local function lost(ref, r, w)
  add_attempt(r, r.lease_end - tonumber(r.timeout) - margin, 'lease_lost', 'maybe')
  r.losses = int(tonumber(r.losses) + 1)
  if r.repeatable == '1' and tonumber(r.losses) < LOSSES then return admit(ref, r, w) end
  finish(ref, r, {
    state = 'interrupted', outcome = 'lease_lost', status = '0', error = '1', result = '', token = token,
    fields = { 'losses', r.losses, 'attempts', r.attempts, 'tries', r.tries },
  })
  return { 'ended', 'interrupted' }
end

-- Beyond the share of its webhook: whatever of it is running will wake it. Where nothing runs, nothing would.
local function park_beyond_share(ref, r, w)
  if taken(w) > 0 then park(w, ref, r.created) end
  return { 'parked', r.state }
end

local function claim(ref, wanted)
  local f = redis.call('HMGET', KEY.record(ref), 'state', 'token', 'leaseEnd', 'notBefore', 'plugin', 'webhook',
    'timeout', 'repeatable', 'losses', 'attempts', 'requestBytes', 'waiters', 'lastToken', 'tries', 'parked',
    'createdAt')
  local state = f[1]
  if not state then return { 'skipped', 'gone' } end
  local r = {
    state = state, token = f[2], lease_end = tonumber(f[3] or '') or 0, plugin = f[5], webhook = f[6],
    timeout = f[7], repeatable = f[8], losses = f[9], attempts = f[10], requestBytes = f[11], waiters = f[12],
    tries = f[14], parked = f[15], created = f[16],
  }
  local w = webhook_of(r.plugin, r.webhook)
  if state == 'sending' then
    if r.token == token then return { 'granted', state } end
    if r.lease_end > now then return { 'skipped', state } end
    return lost(ref, r, w)
  end
  if state == 'queued' or (state == 'retrying' and (tonumber(f[4] or '') or 0) <= now) then
    if not wanted then return park_beyond_share(ref, r, w) end
    return admit(ref, r, w)
  end
  if f[13] == token then return { 'ended', state } end
  return { 'skipped', state }
end

local replies = {}
for index = 8, #ARGV do
  replies[index - 7] = claim(ARGV[index], index - 7 <= count)
end
in_pieces('ZADD', KEY.due_running(), leases, 2)
effects_flush()
wake_all(grace)
return { now, replies, ready }
