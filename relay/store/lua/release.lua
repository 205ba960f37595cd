-- release: give back calls whose gate was shut before it opened (drain); no attempt is counted.
--
-- KEYS  none
-- ARGV  1 token  2 grace_ms  3... the reference ids
-- Returns per id {released or kept, lane}
--
-- Idempotent: a token that left `sending` is lastToken, and is answered as the first time.
-- include: clock

local now = now_ms()
local token, grace = ARGV[1], tonumber(ARGV[2])

local function release(ref)
  local f = redis.call('HMGET', KEY.record(ref), 'state', 'token', 'lastToken', 'plugin', 'webhook', 'lane')
  if f[1] and f[3] == token then return { 'released', f[6] } end
  if f[1] ~= 'sending' or f[2] ~= token then return { 'kept', f[6] or '' } end
  redis.call('HSET', KEY.record(ref), 'state', 'queued', 'token', '', 'lastToken', token, 'leaseEnd', '',
    'readyAt', int(now))
  redis.call('ZREM', KEY.running(f[4], f[5]), ref)
  redis.call('ZREM', KEY.due_running(), ref)
  redis.call('ZADD', KEY.due_queued(), int(now + grace), ref)
  return { 'released', f[6] }
end

local replies = {}
for index = 3, #ARGV do
  replies[index - 2] = release(ARGV[index])
end
return replies
