-- sweep: takes due alarms, moves them on, returns the ids to publish again, and notes how many calls wait.
--
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2 limit of alarms  3 margin_ms: by how much leases are longer than timeouts
-- Returns ready: ref, lane, ref, lane, ...
--
-- An alarm only says when to look at a record; the record alone determines what is done.

local alarms = require('alarms')
local constants = require('constants')
local damage = require('damage')
local fields = require('fields')
local jobs = require('jobs')
local jumps = require('jumps')
local KEY = require('keys')
local leases = require('leases')
local numbers = require('numbers')
local parking = require('parking')
local policy = require('policy')
local ready = require('ready')
local record = require('record')
local int, number = numbers.int, numbers.number

local read_alarmed = fields.record('state', 'lane', 'leaseEnd', 'notBefore', 'deadline', 'parked', 'plugin',
  'webhook', 'replay')

local read_head = fields.values('state', 'readyAt')

local BACKLOG_KEPT = 26 * 3600 -- how many seconds the backlog of a minute is kept
local ORDER = 1000 -- ms: calls join a list in the order in which they became ready, give or take this much

-- Moves a parked call's alarm on, and notes its webhook: if that may send now, its oldest parked calls are woken. This
-- happens after all alarms are handled, so that woken calls keep their near alarm, in case the message is lost.
local function look_at_parked(run, r)
  local w = policy.of(run, r.plugin, r.webhook)
  parking.set_parked_alarm(run, w, r.ref, r.lane)
  w.rang = true
end

local function wake_parked(run)
  for _, w in pairs(run.webhooks) do
    if w.rang then damage.try(parking.wake, run, w, run.most_woken, {}) end
  end
end

-- Makes a call of a paused replay job wait for `resume`; makes it ready if its job is no longer paused.
local function look_at_held(run, r)
  if redis.call('HGET', KEY.replay(run, r.replay), 'state') == 'paused' then
    alarms.set_queued(run, r.ref, r.lane, run.now + parking.ALARM)
  else
    ready.make(run, r.ref, r.lane)
  end
end

local function look_at(run, ref, key)
  if string.sub(ref, 1, #jobs.PREFIX) == jobs.PREFIX then return jumps.look_at_job(run, ref) end
  local r = read_alarmed(run, ref)
  if not r or record.FINAL[r.state] then
    redis.call('ZREM', key, ref)
  elseif jumps.holds_until(r) > run.now then
    alarms.set_running(run, ref, r.lane, jumps.holds_until(r))
  elseif r.parked == '1' then
    look_at_parked(run, r)
  elseif r.parked == 'job' then
    look_at_held(run, r)
  else
    ready.make(run, ref, r.lane)
  end
end

-- Looks at a call; if something that belongs to it is damaged, only its own alarm is moved on.
local function look(run, ref, key)
  if not damage.try(look_at, run, ref, key) then redis.call('ZADD', key, int(run.now + run.grace), ref) end
end

local function sweep(run, key, until_when)
  local rang = redis.call('ZRANGEBYSCORE', key, '-inf', int(until_when), 'LIMIT', 0, run.limit)
  for _, ref in ipairs(rang) do look(run, ref, key) end
  run.limit = run.limit - #rang
end

-- Returns the time up to which alarms of a lane's queued calls belong to calls that a worker has taken and lost: those
-- that still wait in the list are no older than its first one. Removes what is first but no longer waits.
local function taken_until(run, lane)
  for _ = 1, run.limit do
    local ref = redis.call('LINDEX', KEY.waiting(run, lane), 0)
    if not ref then return run.now end
    if string.sub(ref, 1, #jobs.PREFIX) == jobs.PREFIX then return 0 end
    local state, ready_at = read_head(run, ref)
    if state and not record.FINAL[state] then
      local since = number(ready_at)
      if since > run.now then since = run.jumped_at or run.now end
      return math.min(run.now, since + run.grace - ORDER)
    end
    redis.call('LPOP', KEY.waiting(run, lane))
  end
  return 0
end

local function main(run)
  ready.read_grace(run, 1)
  leases.read_margin(run, 3)
  run.limit = tonumber(run.args[2])
  run.most_woken = run.limit -- of each webhook's parked ids

  jumps.look_at_alarms_ahead(run, run.limit)
  sweep(run, KEY.due_running(run), run.now)
  for _, lane in ipairs(constants.LANES) do sweep(run, KEY.due_queued(run, lane), taken_until(run, lane)) end
  wake_parked(run)
  local minute = KEY.backlog(run, int(math.floor(run.now / 60000)))
  for _, lane in ipairs(constants.LANES) do
    local waiting = redis.call('ZCARD', KEY.due_queued(run, lane))
    if waiting > tonumber(redis.call('HGET', minute, lane) or -1) then
      redis.call('HSET', minute, lane, waiting)
      redis.call('EXPIRE', minute, BACKLOG_KEPT)
    end
  end
  redis.call('HINCRBY', KEY.sweeps(run), 'sweeps', 1)
  if run.ready[1] then redis.call('HINCRBY', KEY.sweeps(run), 'published', #run.ready / 2) end
  return run.ready
end

return { kind = 'counts', is_fenced = true, run = main }
