-- sweep: take alarms that rang, move them on, and say which ids must be published again.
--
-- KEYS  none
-- ARGV  1 worker process id  2 grace_ms  3 patience_ms (a queued id is published after so long whatever its lane
--       holds)  4 limit of alarms  5... the lanes that are short
-- Returns ready: ref, lane, ref, lane, ...
--
-- An alarm only says when to look; what is done is decided by the record alone.
-- include: clock, places

local grace, patience, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local short = {}
for index = 5, #ARGV do short[ARGV[index]] = true end
redis.call('ZADD', KEY.workers(), int(now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEY.workers(), '-inf', int(now - 3600000))

-- Until when nobody needs to look: a running lease or a retry's time that is still to come.
local function holds_until(r)
  return tonumber((r.state == 'sending' and r.lease_end) or (r.state == 'retrying' and r.not_before) or '') or 0
end

-- A parked id goes only if its webhook may send now; then the oldest go, of which it may be one.
local function look_at_parked(ref, r)
  local w = webhook_of(r.plugin, r.webhook)
  set_alarm(ref, parked_alarm(w, ref))
  if not w.woken then
    w.woken = true
    wake(w, limit, grace)
  end
end

local function look(ref, first_time)
  local f = redis.call('HMGET', KEY.record(ref), 'state', 'lane', 'readyAt', 'leaseEnd', 'notBefore', 'finishedAt',
    'parked', 'plugin', 'webhook')
  local r = { state = f[1], lane = f[2], lease_end = f[4], not_before = f[5], plugin = f[8], webhook = f[9] }
  if not r.state or f[6] then
    redis.call('ZREM', KEY.due_running(), ref)
    redis.call('ZREM', KEY.due_queued(), ref)
  elseif holds_until(r) > now then
    redis.call('ZREM', KEY.due_queued(), ref)
    redis.call('ZADD', KEY.due_running(), int(holds_until(r)), ref)
  elseif f[7] == '1' then
    look_at_parked(ref, r)
  elseif first_time or short[r.lane] or now - tonumber(f[3]) > patience then
    make_ready(ref, r.lane, grace)
  else
    set_alarm(ref, now + grace)
  end
end

local running = redis.call('ZRANGEBYSCORE', KEY.due_running(), '-inf', int(now), 'LIMIT', 0, limit)
for _, ref in ipairs(running) do look(ref, true) end
local queued = redis.call('ZRANGEBYSCORE', KEY.due_queued(), '-inf', int(now), 'LIMIT', 0, limit - #running)
for _, ref in ipairs(queued) do look(ref, false) end
return ready
