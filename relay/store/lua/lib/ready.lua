-- ready: makes calls ready to run, and lists them for the worker that asked.

local alarms = require('alarms')
local effects = require('effects')
local fields = require('fields')
local KEY = require('keys')
local int = require('numbers').int

local ready = {}

local read_lane = fields.values('lane')

function ready.read_grace(run, index)
  run.grace = tonumber(run.args[index])
end

function ready.add(run, ref, lane)
  run.ready[#run.ready + 1] = ref
  run.ready[#run.ready + 1] = lane
end

local function note_ready(run, ref, lane)
  redis.call('HSET', KEY.record(run, ref), 'readyAt', run.now_text)
  ready.add(run, ref, lane)
end

-- Makes an id ready to run, without a message; its alarm rings after the grace, in case nothing runs it.
function ready.make(run, ref, lane)
  note_ready(run, ref, lane)
  alarms.set_queued(run, ref, lane, run.now + run.grace)
end

-- Makes several ids of a sorted set ready.
function ready.make_all(run, key, refs)
  local due, woken = {}, {}
  for _, ref in ipairs(refs) do
    local lane = read_lane(run, ref)
    if not lane then
      redis.call('ZREM', key, ref) -- its record is gone
    else
      note_ready(run, ref, lane)
      local of_lane = due[lane] or {}
      of_lane[#of_lane + 1] = int(run.now + run.grace)
      of_lane[#of_lane + 1] = ref
      due[lane] = of_lane
      woken[#woken + 1] = ref
    end
  end
  for lane, of_lane in pairs(due) do effects.in_pieces('ZADD', KEY.due_queued(run, lane), of_lane, 2) end
  effects.in_pieces('ZREM', KEY.due_running(run), woken, 1)
end

return ready
