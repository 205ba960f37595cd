-- jumps: notices that the server's clock has gone back, as it may if another machine takes over, and then looks at every
-- call and job whose alarm is ahead: from then on, each is held at most as long as it was originally to be held.

local alarms = require('alarms')
local constants = require('constants')
local fields = require('fields')
local jobs = require('jobs')
local KEY = require('keys')
local leases = require('leases')
local numbers = require('numbers')
local permits = require('permits')
local policy = require('policy')
local ready = require('ready')
local record = require('record')
local runs = require('runs')
local walks = require('walks')
local int, number = numbers.int, numbers.number

local jumps = {}

local read_ahead = fields.record('state', 'lane', 'leaseEnd', 'notBefore', 'pause', 'deadline', 'timeout', 'readyAt',
  'plugin', 'webhook')

-- By state, the field that says until when a call needs no attention: the end of its lease, the time of a retry or of a
-- delayed call, or a chain's deadline.
local HOLDS = { queued = 'notBefore', sending = 'leaseEnd', retrying = 'notBefore', waiting = 'deadline' }

function jumps.holds_until(r)
  return HOLDS[r.state] and number(r[HOLDS[r.state]]) or 0
end

-- Makes a replay job ready if it has no holder, or its holder's lease has ended.
function jumps.look_at_job(run, member)
  local id = string.sub(member, #jobs.PREFIX + 1)
  local f = redis.call('HMGET', KEY.replay(run, id), 'state', 'leaseEnd')
  if f[1] ~= 'running' and f[1] ~= 'planning' then return jobs.unset_alarm(run, id) end
  local lease_end = runs.within(run, number(f[2]), jobs.ALARM)
  jobs.set_alarm(run, id, lease_end > run.now and lease_end or run.now + run.grace)
  if lease_end > run.now then return end
  ready.add(run, member, constants.JOB_LANE)
end

-- Returns how long a call is held, counted from when that was written.
local function hold_of(run, r)
  if r.state == 'sending' then return leases.length_of(run, r) end
  return number(r.state == 'waiting' and r.timeout or r.pause)
end

-- Writes the record last: it shows a repeated run that the rest is done.
local function shorten_hold(run, r)
  local ends = run.now + hold_of(run, r)
  if jumps.holds_until(r) <= ends then return end
  alarms.set_running(run, r.ref, r.lane, ends)
  if r.state == 'sending' then permits.move(run, policy.of(run, r.plugin, r.webhook), r.ref, ends) end
  redis.call('HSET', KEY.record(run, r.ref), HOLDS[r.state], int(ends))
end

local function look_ahead(run, ref)
  if string.sub(ref, 1, #jobs.PREFIX) == jobs.PREFIX then return jumps.look_at_job(run, ref) end
  local r = read_ahead(run, ref)
  if not r or record.FINAL[r.state] then return end
  if jumps.holds_until(r) > run.now then return shorten_hold(run, r) end
  alarms.set_queued(run, ref, r.lane, run.jumped_at + run.grace)
  -- All of them count as ready since the jump: they were ready before any that have arrived later.
  if number(r.readyAt) > run.now then redis.call('HSET', KEY.record(run, ref), 'readyAt', int(run.jumped_at)) end
end

-- Notes the time of this sweep; returns the position to look at alarms from, or nothing.
local function notice_jump(run)
  local f = redis.call('HMGET', KEY.sweeps(run), 'latest', 'jumpedAt', 'walkedTo')
  if number(f[1]) <= run.now + constants.UNNOTICED then
    redis.call('HSET', KEY.sweeps(run), 'latest', run.now_text)
    run.jumped_at = tonumber(f[2] or '')
    return run.jumped_at and f[3]
  end
  run.jumped_at = run.now
  redis.call('HSET', KEY.sweeps(run), 'latest', run.now_text, 'jumpedAt', run.now_text, 'walkedTo', '')
  return ''
end

-- If the clock has gone back, looks at the next `most` alarms that are ahead, furthest first.
function jumps.look_at_alarms_ahead(run, most)
  local position = notice_jump(run)
  if not position then return end
  local keys, last = { KEY.due_running(run) }, nil
  for _, lane in ipairs(constants.LANES) do keys[#keys + 1] = KEY.due_queued(run, lane) end
  local walk = walks.from(keys, walks.position_from(position), '(' .. int(run.now + run.grace))
  for _ = 1, most do
    last = walks.next(walk)
    if not last then return redis.call('HDEL', KEY.sweeps(run), 'jumpedAt', 'walkedTo') end
    look_ahead(run, last.ref)
  end
  redis.call('HSET', KEY.sweeps(run), 'walkedTo', walks.position_text(last))
end

return jumps
