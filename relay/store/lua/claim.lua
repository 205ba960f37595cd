-- claim: take n invocations to send them, each until now + timeout + margin.
--
-- KEYS  none
-- ARGV  1 token (one a claim call)  2 margin_ms  3-5 retention ms: ok, failed, rejected  6... the reference ids
-- Returns {now, per id {verdict, state}}; verdict: granted, skipped (not now, or not any more), ended (this claim
--         found a lost call and ended it)
--
-- Idempotent: the same token is granted again what it was granted, and leaseEnd does not move. A lost holder's token
-- does not become lastToken: its answer, should it still come, is late.
-- include: clock, effects, finish

local LOSSES = 3 -- so many lost leases end even a repeatable call
local now = now_ms()
local token, margin = ARGV[1], tonumber(ARGV[2])
retention_from(3)
local leases = {}

local function grant(ref, r)
  local lease_end = int(now + tonumber(r.timeout) + margin)
  redis.call('HSET', KEY.record(ref), 'state', 'sending', 'token', token, 'leaseEnd', lease_end, 'notBefore', '',
    'losses', r.losses, 'attempts', r.attempts)
  redis.call('ZADD', KEY.running(r.plugin, r.webhook), lease_end, ref)
  redis.call('ZREM', KEY.due_queued(), ref)
  leases[#leases + 1] = lease_end
  leases[#leases + 1] = ref
  return { 'granted', 'sending' }
end

-- The worker that held the lease is gone: record its attempt, then take the call again or say so.
local function lost(ref, r)
  local started = r.lease_end - tonumber(r.timeout) - margin
  local attempt = string.format('[%s,%s,0,"lease_lost","maybe"]', int(started), int(now - started))
  r.attempts = r.attempts == '' and attempt or (r.attempts .. ',' .. attempt)
  r.losses = int(tonumber(r.losses) + 1)
  if r.repeatable == '1' and tonumber(r.losses) < LOSSES then return grant(ref, r) end
  finish(now, ref, r, {
    state = 'interrupted', outcome = 'lease_lost', status = '0', error = '1', result = '', token = token,
    fields = { 'losses', r.losses, 'attempts', r.attempts },
  })
  return { 'ended', 'interrupted' }
end

local function claim(ref)
  local f = redis.call('HMGET', KEY.record(ref), 'state', 'token', 'leaseEnd', 'notBefore', 'plugin', 'webhook',
    'timeout', 'repeatable', 'losses', 'attempts', 'requestBytes', 'waiters', 'lastToken')
  local state = f[1]
  if not state then return { 'skipped', 'gone' } end
  local r = {
    token = f[2], lease_end = tonumber(f[3] or '') or 0, plugin = f[5], webhook = f[6], timeout = f[7],
    repeatable = f[8], losses = f[9], attempts = f[10], requestBytes = f[11], waiters = f[12],
  }
  if state == 'sending' then
    if r.token == token then return { 'granted', state } end
    if r.lease_end > now then return { 'skipped', state } end
    return lost(ref, r)
  end
  if state == 'queued' then return grant(ref, r) end
  if state == 'interrupted' and f[13] == token then return { 'ended', state } end
  return { 'skipped', state }
end

local replies = {}
for index = 6, #ARGV do
  replies[index - 5] = claim(ARGV[index])
end
in_pieces('ZADD', KEY.due_running(), leases, 2)
effects_flush()
return { now, replies }
