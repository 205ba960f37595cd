-- beat: a worker says that it lives, and which lanes it serves.
--
-- KEYS  1 the root of the shared keys
-- ARGV  1 worker process  2 its lanes, with commas between  3 forget_ms: who has been silent for so long is forgotten
--       4 silence_ms: who has been silent for so long does not live
-- Returns the time on the server's clock, ms, and how many workers live, this one among them
-- needs: clock

redis.call('ZADD', KEY.workers(), int(now), ARGV[1])
redis.call('HSET', KEY.worker_lanes(), ARGV[1], ARGV[2])
local gone = redis.call('ZRANGEBYSCORE', KEY.workers(), '-inf', int(now - tonumber(ARGV[3])), 'LIMIT', 0, 1000)
if gone[1] then
  redis.call('ZREM', KEY.workers(), unpack(gone))
  redis.call('HDEL', KEY.worker_lanes(), unpack(gone))
end
return { int(now), redis.call('ZCOUNT', KEY.workers(), int(now - tonumber(ARGV[4])), '+inf') }
