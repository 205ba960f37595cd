-- alarms: sets when a sweep has to look at an invocation again; each invocation that is not final has one alarm.
--
-- Alarms of leases, retries, deadlines and rates are in `due_running`, which is swept first. Those of queued ids are in
-- a set per lane, so that the backlog of one lane cannot hide a message that was lost on another.

local effects = require('effects')
local KEY = require('keys')
local int = require('numbers').int

local alarms = {}

-- Moves a call's alarm to `due_running`.
function alarms.set_running(run, ref, lane, at)
  redis.call('ZADD', KEY.due_running(run), int(at), ref) -- first: a call must never be without an alarm
  redis.call('ZREM', KEY.due_queued(run, lane), ref)
end

-- Moves a call's alarm to the queued ids of its lane.
function alarms.set_queued(run, ref, lane, at)
  redis.call('ZADD', KEY.due_queued(run, lane), int(at), ref)
  redis.call('ZREM', KEY.due_running(run), ref)
end

function alarms.is_set(run, ref, lane)
  return redis.call('ZSCORE', KEY.due_queued(run, lane), ref) or redis.call('ZSCORE', KEY.due_running(run), ref)
end

-- Returns the list that a table holds for a lane, and creates it first if necessary.
local function of_lane(lists, lane)
  local list = lists[lane]
  if not list then
    list = {}
    lists[lane] = list
  end
  return list
end

-- For groups: deletes the alarm among the queued ids at the end of the script, before new ones are set.
function alarms.unset_queued(run, ref, lane)
  local queued = of_lane(effects.of(run).queued_off, lane)
  queued[#queued + 1] = ref
end

-- For groups: deletes the alarm, wherever it is, at the end of the script.
function alarms.unset(run, ref, lane)
  local off = of_lane(effects.of(run).off, lane)
  off[#off + 1] = ref
end

-- For groups of ids without an alarm in `due_running`: sets an alarm among the queued ids at the end of the script.
function alarms.set_queued_at_end(run, ref, lane, at)
  local queued = of_lane(effects.of(run).queued_at, lane)
  queued[#queued + 1] = int(at)
  queued[#queued + 1] = ref
end

-- For groups of ids without an alarm among the queued ones: sets an alarm in `due_running` at the end of the script.
function alarms.set_running_at_end(run, ref, at)
  local running = effects.of(run).running_at
  running[#running + 1] = int(at)
  running[#running + 1] = ref
end

return alarms
