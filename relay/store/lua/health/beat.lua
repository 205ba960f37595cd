-- beat: records a worker's heartbeat, and which lanes it serves.
--
-- kind: counts
-- KEYS  1 the root of the shared keys
-- ARGV  1 worker process  2 its lanes, separated by commas  3 forget_ms: a worker silent for so long is deleted
--       4 silence_ms: a worker silent for so long counts as gone
-- Returns the server's time, ms, and how many workers are alive, including this one
-- needs: clock

redis.call('ZADD', KEY.workers(), int(now), ARGV[1])
redis.call('HSET', KEY.worker_lanes(), ARGV[1], ARGV[2])
local silence = tonumber(ARGV[4])

local function forget(first, last)
  local gone = redis.call('ZRANGEBYSCORE', KEY.workers(), first, last, 'LIMIT', 0, 1000)
  if not gone[1] then return end
  redis.call('ZREM', KEY.workers(), unpack(gone))
  redis.call('HDEL', KEY.worker_lanes(), unpack(gone))
end

forget('-inf', int(now - tonumber(ARGV[3])))
forget('(' .. int(now + silence), '+inf') -- the clock has gone back: who is alive is listed again by the next heartbeat
return { int(now), redis.call('ZCOUNT', KEY.workers(), int(now - silence), '+inf') }
