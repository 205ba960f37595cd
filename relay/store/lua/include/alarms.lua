-- alarms: sets the time at which a sweep has to look at an invocation again; each one that is not final has one alarm.
--
-- Alarms of leases, retries, deadlines and rates are in `due_running`, which is swept first. Those of queued ids are in
-- a set per lane, so that the backlog of one lane cannot hide a message that was lost on another.
-- needs: clock, effects

-- Moves a call's alarm to `due_running`.
local function alarm_running(ref, lane, at)
  redis.call('ZADD', KEY.due_running(), int(at), ref) -- first: a call must never be without an alarm
  redis.call('ZREM', KEY.due_queued(lane), ref)
end

-- Moves a call's alarm to the queued ids of its lane.
local function alarm_queued(ref, lane, at)
  redis.call('ZADD', KEY.due_queued(lane), int(at), ref)
  redis.call('ZREM', KEY.due_running(), ref)
end

local function has_alarm(ref, lane)
  return redis.call('ZSCORE', KEY.due_queued(lane), ref) or redis.call('ZSCORE', KEY.due_running(), ref)
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
local function alarm_queued_off(ref, lane)
  local queued = of_lane(effects.queued_off, lane)
  queued[#queued + 1] = ref
end

-- For groups: deletes the alarm, wherever it is, at the end of the script.
local function alarm_off(ref, lane)
  local off = of_lane(effects.off, lane)
  off[#off + 1] = ref
end

-- For groups of ids without an alarm in `due_running`: sets an alarm among the queued ids at the end of the script.
local function alarm_queued_at_end(ref, lane, at)
  local queued = of_lane(effects.queued_at, lane)
  queued[#queued + 1] = int(at)
  queued[#queued + 1] = ref
end

-- For groups of ids without an alarm among the queued ones: sets an alarm in `due_running` at the end of the script.
local function alarm_running_at_end(ref, at)
  local running = effects.running_at
  running[#running + 1] = int(at)
  running[#running + 1] = ref
end
