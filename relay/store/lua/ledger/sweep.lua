-- sweep: takes due alarms, moves them on, returns the ids to publish again, and notes how many calls wait.
--
-- kind: counts
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2 limit of alarms  3 margin_ms: by how much leases are longer than timeouts
-- Returns ready: ref, lane, ref, lane, ...
--
-- An alarm only tells when to look at a record; the record alone determines what is done.
-- needs: alarms, clock, jobs, jumps, leases, parking, policy, ready, record
-- record read_alarmed: state lane leaseEnd notBefore deadline parked plugin webhook replay
-- values read_head: state readyAt

grace_from(1)
lease_margin_from(3)
local limit = tonumber(ARGV[2])
local most_woken = limit -- of each webhook's parked ids
local BACKLOG_KEPT = 26 * 3600 -- how many seconds the backlog of a minute is kept
local ORDER = 1000 -- ms: calls join a list in the order in which they became ready, give or take this much

-- Moves a parked call's alarm on, and notes its webhook: if that may send now, its oldest parked calls are woken. That
-- happens after all alarms were handled, so that woken calls keep their near alarm, in case the message is lost.
local function look_at_parked(r)
  local w = webhook_of(r.plugin, r.webhook)
  set_parked_alarm(w, r.ref, r.lane)
  w.rang = true
end

local function wake_parked()
  for _, w in pairs(webhooks) do
    if w.rang then try(wake, w, most_woken, {}) end
  end
end

-- Lets a call of a paused replay job wait for `resume`; makes it ready if its job is not paused any more.
local function look_at_held(r)
  if redis.call('HGET', KEY.replay(r.replay), 'state') == 'paused' then
    alarm_queued(r.ref, r.lane, now + PARKED_ALARM)
  else
    make_ready(r.ref, r.lane)
  end
end

local function look_at(ref, key)
  if string.sub(ref, 1, #JOB_PREFIX) == JOB_PREFIX then return look_at_job(ref) end
  local r = read_alarmed(ref)
  if not r or FINAL[r.state] then
    redis.call('ZREM', key, ref)
  elseif holds_until(r) > now then
    alarm_running(ref, r.lane, holds_until(r))
  elseif r.parked == '1' then
    look_at_parked(r)
  elseif r.parked == 'job' then
    look_at_held(r)
  else
    make_ready(ref, r.lane)
  end
end

-- Looks at a call; if something that belongs to it is damaged, only its own alarm is moved on.
local function look(ref, key)
  if not try(look_at, ref, key) then redis.call('ZADD', key, int(now + grace), ref) end
end

local function sweep(key, until_when)
  local rang = redis.call('ZRANGEBYSCORE', key, '-inf', int(until_when), 'LIMIT', 0, limit)
  for _, ref in ipairs(rang) do look(ref, key) end
  limit = limit - #rang
end

-- Returns until when alarms of a lane's queued calls are of calls that a worker has taken, and lost: those that wait in
-- the list still are no older than its first one. Removes what is first but does not wait any more.
local function taken_until(lane)
  for _ = 1, limit do
    local ref = redis.call('LINDEX', KEY.waiting(lane), 0)
    if not ref then return now end
    if string.sub(ref, 1, #JOB_PREFIX) == JOB_PREFIX then return 0 end
    local state, ready_at = read_head(ref)
    if state and not FINAL[state] then
      local since = number(ready_at)
      if since > now then since = jumped or now end
      return math.min(now, since + grace - ORDER)
    end
    redis.call('LPOP', KEY.waiting(lane))
  end
  return 0
end

look_at_alarms_ahead(limit)
sweep(KEY.due_running(), now)
for _, lane in ipairs(LANES) do sweep(KEY.due_queued(lane), taken_until(lane)) end
wake_parked()
local minute = KEY.backlog(int(math.floor(now / 60000)))
for _, lane in ipairs(LANES) do
  local waiting = redis.call('ZCARD', KEY.due_queued(lane))
  if waiting > tonumber(redis.call('HGET', minute, lane) or -1) then
    redis.call('HSET', minute, lane, waiting)
    redis.call('EXPIRE', minute, BACKLOG_KEPT)
  end
end
redis.call('HINCRBY', KEY.sweeps(), 'sweeps', 1)
if ready[1] then redis.call('HINCRBY', KEY.sweeps(), 'published', #ready / 2) end
return ready
