-- jumps: notices that the server's clock has gone back, as it may if another machine takes over, and then looks at every
-- call and job whose alarm is ahead: each is held no longer from then on than whoever wrote its time can have meant.
-- needs: alarms, clock, jobs, leases, permits, policy, ready, record, walk
-- record read_ahead: state lane leaseEnd notBefore pause deadline timeout chain readyAt plugin webhook

-- By state, the field that tells until when a call needs no attention: the end of its lease, the time of a retry or of
-- a delayed call, or a chain's deadline.
local HOLDS = { queued = 'notBefore', sending = 'leaseEnd', retrying = 'notBefore', waiting = 'deadline' }

local jumped = nil -- when the clock was noticed to have gone back, while not everything was looked at

local function holds_until(r)
  return HOLDS[r.state] and number(r[HOLDS[r.state]]) or 0
end

-- Makes a replay job ready if it has no holder, or its holder's lease has ended.
local function look_at_job(member)
  local id = string.sub(member, #JOB_PREFIX + 1)
  local f = redis.call('HMGET', KEY.replay(id), 'state', 'leaseEnd')
  if f[1] ~= 'running' and f[1] ~= 'planning' then return job_alarm_off(id) end
  local lease_end = within(number(f[2]), JOB_ALARM)
  job_alarm(id, lease_end > now and lease_end or now + grace)
  if lease_end > now then return end
  add_ready(member, JOB_LANE)
end

-- Returns how long a call is held from the moment on at which that was written.
local function hold_of(r)
  if r.state == 'sending' then return lease_of(r) end
  return number(r.state == 'waiting' and r.timeout or r.pause)
end

-- Writes the record last: it tells a repeated run that the rest is done.
local function shorten_hold(r)
  local ends = now + hold_of(r)
  if holds_until(r) <= ends then return end
  alarm_running(r.ref, r.lane, ends)
  if r.state == 'sending' then move_permit(webhook_of(r.plugin, r.webhook), r.ref, ends) end
  redis.call('HSET', KEY.record(r.ref), HOLDS[r.state], int(ends))
end

local function look_ahead(ref)
  if string.sub(ref, 1, #JOB_PREFIX) == JOB_PREFIX then return look_at_job(ref) end
  local r = read_ahead(ref)
  if not r or FINAL[r.state] then return end
  if holds_until(r) > now then return shorten_hold(r) end
  alarm_queued(ref, r.lane, jumped + grace)
  -- All of them count as ready since then, as they were ready before those that have come since.
  if number(r.readyAt) > now then redis.call('HSET', KEY.record(ref), 'readyAt', int(jumped)) end
end

-- Notes the time of this sweep; returns from which position on alarms are to be looked at, or nothing.
local function notice_jump()
  local f = redis.call('HMGET', KEY.sweeps(), 'latest', 'jumpedAt', 'walkedTo')
  if number(f[1]) <= now + UNNOTICED then
    redis.call('HSET', KEY.sweeps(), 'latest', int(now))
    jumped = tonumber(f[2] or '')
    return jumped and f[3]
  end
  jumped = now
  redis.call('HSET', KEY.sweeps(), 'latest', int(now), 'jumpedAt', int(now), 'walkedTo', '')
  return ''
end

-- Looks at the next `most` alarms that are ahead, the furthest first, if the clock has gone back.
local function look_at_alarms_ahead(most)
  local position = notice_jump()
  if not position then return end
  local keys, last = { KEY.due_running() }, nil
  for _, lane in ipairs(LANES) do keys[#keys + 1] = KEY.due_queued(lane) end
  local walk = walk_from(keys, position_from(position), '(' .. int(now + grace))
  for _ = 1, most do
    last = walk_on(walk)
    if not last then return redis.call('HDEL', KEY.sweeps(), 'jumpedAt', 'walkedTo') end
    look_ahead(last.ref)
  end
  redis.call('HSET', KEY.sweeps(), 'walkedTo', position_text(last))
end
