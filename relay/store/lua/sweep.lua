-- sweep: take alarms that rang, move them on, and say which ids must be published again; note how many wait.
--
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2 patience_ms (a queued id is published after so long whatever its lane holds)  3 limit of alarms
--       4 limit of alarms of a lane's queued ids, where the lane holds messages
--       5 n  6... n lanes that are empty, then those that are short
-- Returns ready: ref, lane, ref, lane, ...
--
-- An alarm only says when to look; what is done is decided by the record alone.
-- needs: alarms, clock, jobs, places, record
-- record read_alarmed: state lane readyAt leaseEnd notBefore deadline parked plugin webhook replay copies

grace_from(1)
local patience, limit, lane_limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local most_woken = limit -- of each webhook's parked ids
local LANES = { 'interactive', 'bulk', 'replay' }
local BACKLOG_KEPT = 26 * 3600 -- seconds for which the backlog of a minute is kept
local COPIES = 2 -- so many more messages an id gets from here while its lane is not empty
local depth = {} -- of a lane: 'empty' or 'short'; else it is long
for index = 6, #ARGV do depth[ARGV[index]] = index - 5 <= tonumber(ARGV[5]) and 'empty' or 'short' end

-- Until when nobody needs to look: a running lease, or the time of a retry or of a delayed call, or a chain's deadline that
-- is still to come.
local HOLDS = { queued = 'notBefore', sending = 'leaseEnd', retrying = 'notBefore', waiting = 'deadline' }

local function holds_until(r)
  return HOLDS[r.state] and number(r[HOLDS[r.state]]) or 0
end

-- A parked id goes only if its webhook may send now; then the oldest go, of which it may be one. They are woken when all
-- have been looked at, so that who goes keeps the near alarm: the message may be lost.
local function look_at_parked(r)
  local w = webhook_of(r.plugin, r.webhook)
  set_parked_alarm(w, r.ref, r.lane)
  w.rang = true
end

local function wake_parked()
  for _, w in pairs(webhooks) do
    if w.rang then wake(w, most_woken) end
  end
end

-- A call of a paused replay job waits for `resume`; one that was overlooked then goes now.
local function look_at_held(r)
  if redis.call('HGET', KEY.replay(r.replay), 'state') == 'paused' then
    alarm_queued(r.ref, r.lane, now + PARKED_ALARM)
  else
    make_ready(r.ref, r.lane)
  end
end

-- A replay job whose holder is gone, or that has not been looked at for long.
local function look_at_job(member)
  local id = string.sub(member, #JOB_PREFIX + 1)
  local f = redis.call('HMGET', KEY.replay(id), 'state', 'leaseEnd')
  if f[1] ~= 'running' and f[1] ~= 'planning' then return job_alarm_off(id) end
  local lease_end = number(f[2])
  job_alarm(id, lease_end > now and lease_end or now + grace)
  if lease_end > now then return end
  say_ready(member, JOB_LANE)
end

-- An id whose alarm rang is published again: surely if its lane is empty, for no message can hold it; but only a few
-- times while the lane holds some, for nobody may be taking them.
local function look_at_queued(r)
  local copies = number(r.copies)
  if depth[r.lane] == 'empty' or now - number(r.readyAt) > patience then
    make_ready(r.ref, r.lane)
  elseif depth[r.lane] == 'short' and copies < COPIES then
    make_ready(r.ref, r.lane)
    redis.call('HSET', KEY.record(r.ref), 'copies', int(copies + 1))
  else
    alarm_queued(r.ref, r.lane, now + grace)
  end
end

local function look(ref, key, first_time)
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
  elseif first_time then
    make_ready(ref, r.lane)
  else
    look_at_queued(r)
  end
end

local function sweep(key, until_when, most, first_time)
  local rang = redis.call('ZRANGEBYSCORE', key, '-inf', int(until_when), 'LIMIT', 0, math.min(limit, most))
  for _, ref in ipairs(rang) do look(ref, key, first_time) end
  limit = limit - #rang
end

sweep(KEY.due_running(), now, limit, true)
for index = 6, #ARGV do
  sweep(KEY.due_queued(ARGV[index]), now, depth[ARGV[index]] == 'empty' and limit or lane_limit, false)
end
-- A long lane is left alone (its messages are taken one by one), but for those that have waited beyond patience.
for _, lane in ipairs(LANES) do
  if not depth[lane] then sweep(KEY.due_queued(lane), now - patience, lane_limit, false) end
end
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
