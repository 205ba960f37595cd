-- sweep: take alarms that rang, move them on, and say which ids must be published again.
--
-- KEYS  none
-- ARGV  1 worker process id  2 grace_ms  3 patience_ms (a queued id is published after so long whatever its lane
--       holds)  4 limit of alarms  5... the lanes that are short
-- Returns a flat list: ref, lane, ref, lane, ...
--
-- An alarm only says when to look; what is done is decided by the record alone.
-- include: clock

local now = now_ms()
local grace, patience, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local short = {}
for index = 5, #ARGV do short[ARGV[index]] = true end
redis.call('ZADD', KEY.workers(), int(now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEY.workers(), '-inf', int(now - 3600000))

local publish = {}

-- The alarm of a record that waits for a message (again): a grace from now, among the queued ones.
local function wait_for_message(ref, at)
  redis.call('ZREM', KEY.due_running(), ref)
  redis.call('ZADD', KEY.due_queued(), int(at), ref)
end

local function send(ref, lane)
  redis.call('HSET', KEY.record(ref), 'readyAt', int(now))
  wait_for_message(ref, now + grace)
  publish[#publish + 1] = ref
  publish[#publish + 1] = lane
end

-- Until when nobody needs to look: a running lease or a retry's time that is still to come.
local function holds_until(f)
  return tonumber((f[1] == 'sending' and f[4]) or (f[1] == 'retrying' and f[5]) or '') or 0
end

local function look(ref, first_time)
  local f = redis.call('HMGET', KEY.record(ref), 'state', 'lane', 'readyAt', 'leaseEnd', 'notBefore', 'finishedAt')
  if not f[1] or f[6] then
    redis.call('ZREM', KEY.due_running(), ref)
    redis.call('ZREM', KEY.due_queued(), ref)
  elseif holds_until(f) > now then
    redis.call('ZREM', KEY.due_queued(), ref)
    redis.call('ZADD', KEY.due_running(), int(holds_until(f)), ref)
  elseif first_time or short[f[2]] or now - tonumber(f[3]) > patience then
    send(ref, f[2])
  else
    wait_for_message(ref, now + grace)
  end
end

local running = redis.call('ZRANGEBYSCORE', KEY.due_running(), '-inf', int(now), 'LIMIT', 0, limit)
for _, ref in ipairs(running) do look(ref, true) end
local queued = redis.call('ZRANGEBYSCORE', KEY.due_queued(), '-inf', int(now), 'LIMIT', 0, limit - #running)
for _, ref in ipairs(queued) do look(ref, false) end
return publish
