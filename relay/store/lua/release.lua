-- release: give back calls whose gate was shut before it opened (drain); no attempt is counted.
--
-- KEYS  none
-- ARGV  1 token  2 grace_ms  3... the reference ids
-- Returns ready: ref, lane, ...: the calls given back, and those that their places wake
--
-- Idempotent: a token that left `sending` is lastToken, and is answered as the first time.
-- include: clock, places

local token, grace = ARGV[1], tonumber(ARGV[2])

local function release(ref)
  local f = redis.call('HMGET', KEY.record(ref), 'state', 'token', 'lastToken', 'plugin', 'webhook', 'lane')
  if not f[1] then return end
  if f[1] == 'queued' and f[3] == token then
    ready[#ready + 1] = ref
    ready[#ready + 1] = f[6]
  elseif f[1] == 'sending' and f[2] == token then
    redis.call('HSET', KEY.record(ref), 'state', 'queued', 'token', '', 'lastToken', token, 'leaseEnd', '')
    leave_place(webhook_of(f[4], f[5]), ref)
    make_ready(ref, f[6], grace)
  end
end

for index = 3, #ARGV do release(ARGV[index]) end
wake_all(grace)
return ready
