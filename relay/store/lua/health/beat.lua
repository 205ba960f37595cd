-- beat: records a worker's heartbeat, and which lanes it serves.
--
-- KEYS  1 the root of the shared keys
-- ARGV  1 worker process  2 its lanes, separated by commas  3 forget_ms: a worker silent for so long is deleted
--       4 silence_ms: a worker silent for so long counts as gone
-- Returns the server's time, ms, and how many workers are alive, including this one

local KEY = require('keys')
local int = require('numbers').int

local function forget(run, first, last)
  local gone = redis.call('ZRANGEBYSCORE', KEY.workers(run), first, last, 'LIMIT', 0, 1000)
  if not gone[1] then return end
  redis.call('ZREM', KEY.workers(run), unpack(gone))
  redis.call('HDEL', KEY.worker_lanes(run), unpack(gone))
end

local function main(run)
  redis.call('ZADD', KEY.workers(run), run.now_text, run.args[1])
  redis.call('HSET', KEY.worker_lanes(run), run.args[1], run.args[2])
  local silence = tonumber(run.args[4])

  forget(run, '-inf', int(run.now - tonumber(run.args[3])))
  -- the clock has gone back: workers that are alive are listed again at their next heartbeat
  forget(run, '(' .. int(run.now + silence), '+inf')
  return { run.now_text, redis.call('ZCOUNT', KEY.workers(run), int(run.now - silence), '+inf') }
end

return { kind = 'counts', is_shared = true, run = main }
