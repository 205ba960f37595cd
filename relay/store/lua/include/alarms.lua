-- alarms: when somebody must look at an unfinished invocation again; every one has exactly one alarm.
--
-- Leases, retries, deadlines and rates ring among `due_running`, which is swept first; queued ids among those of their
-- lane, so that the backlog of one lane cannot hide a message that was lost on another.
-- needs: clock, effects

-- Rings among the leases.
local function alarm_running(ref, lane, at)
  redis.call('ZREM', KEY.due_queued(lane), ref)
  redis.call('ZADD', KEY.due_running(), int(at), ref)
end

-- Rings among the queued ids of its lane.
local function alarm_queued(ref, lane, at)
  redis.call('ZREM', KEY.due_running(), ref)
  redis.call('ZADD', KEY.due_queued(lane), int(at), ref)
end

-- The list that a table keeps for this lane.
local function of_lane(lists, lane)
  local list = lists[lane]
  if not list then
    list = {}
    lists[lane] = list
  end
  return list
end

-- Of a group: among the queued ids it is off when the script ends, unless it is set then.
local function alarm_queued_off(ref, lane)
  local queued = of_lane(effects.queued_off, lane)
  queued[#queued + 1] = ref
end

-- Of a group: off when the script ends.
local function alarm_off(ref, lane)
  local off = of_lane(effects.off, lane)
  off[#off + 1] = ref
end

-- Of a group of ids that are not among the leases: rings among the queued ids, set when the script ends.
local function alarm_queued_at_end(ref, lane, at)
  local queued = of_lane(effects.queued_at, lane)
  queued[#queued + 1] = int(at)
  queued[#queued + 1] = ref
end

-- Of a group of ids that are not among the queued ones: rings among the leases, set when the script ends.
local function alarm_running_at_end(ref, at)
  local running = effects.running_at
  running[#running + 1] = int(at)
  running[#running + 1] = ref
end
