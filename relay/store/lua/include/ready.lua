-- ready: makes calls ready to run, and lists them for the worker that asked.
-- needs: alarms, clock, effects
-- values read_lane: lane

local grace = 0 -- ms: how long a message may be under way before a sweep checks

local function grace_from(index)
  grace = tonumber(ARGV[index])
end

local ready = {} -- ref, lane, ref, lane, ...: calls that may be run now

local function add_ready(ref, lane)
  ready[#ready + 1] = ref
  ready[#ready + 1] = lane
end

local function note_ready(ref, lane)
  redis.call('HSET', KEY.record(ref), 'readyAt', now_text)
  add_ready(ref, lane)
end

-- Makes an id ready to run, without a message; its alarm rings after the grace in case nothing runs it.
local function make_ready(ref, lane)
  note_ready(ref, lane)
  alarm_queued(ref, lane, now + grace)
end

-- Makes several ids of a sorted set ready.
local function make_all_ready(key, refs)
  local alarms, woken = {}, {}
  for _, ref in ipairs(refs) do
    local lane = read_lane(ref)
    if not lane then
      redis.call('ZREM', key, ref) -- its record is gone
    else
      note_ready(ref, lane)
      local of_lane = alarms[lane] or {}
      of_lane[#of_lane + 1] = int(now + grace)
      of_lane[#of_lane + 1] = ref
      alarms[lane] = of_lane
      woken[#woken + 1] = ref
    end
  end
  for lane, of_lane in pairs(alarms) do in_pieces('ZADD', KEY.due_queued(lane), of_lane, 2) end
  in_pieces('ZREM', KEY.due_running(), woken, 1)
end
