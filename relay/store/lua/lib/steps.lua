-- steps: makes a chain's parent ready when its steps have ended, and deletes what only the chain needed.

local fields = require('fields')
local KEY = require('keys')
local ready = require('ready')

local steps = {}

steps.read_state_and_lane = fields.record('state', 'lane')

steps.read_unsent = fields.record('state', 'callback', 'plugin', 'webhook', 'requestBytes', 'waiters', 'parked',
  'parent', 'chain', 'lane', 'createdAt', 'replay', 'attempts')

-- Counts an ended step; the last one of its parent's current step makes the parent ready.
-- A parent whose record is gone is left alone: counting would create its key again, and nothing would ever delete it.
function steps.count_end(run, parent_ref)
  local parent = steps.read_state_and_lane(run, parent_ref)
  if not parent then return end
  local open = redis.call('HINCRBY', KEY.record(run, parent_ref), 'open', -1)
  if open > 0 then return end
  if parent.state == 'waiting' then
    redis.call('HSET', KEY.record(run, parent_ref), 'state', 'queued')
    ready.make(run, parent_ref, parent.lane)
  end
end

-- For a repeated call: returns a parent as ready again if its step has ended and no worker has claimed it since.
function steps.parent_again(run, parent_ref)
  local parent = parent_ref ~= '' and steps.read_state_and_lane(run, parent_ref)
  if parent and parent.state == 'queued' then
    ready.add(run, parent_ref, parent.lane)
  end
end

-- Deletes, when a chain ends, what only the chain needed of its steps' answers, secrets included.
function steps.forget_raw(run, parent_ref)
  local keys = { KEY.secrets(run, parent_ref) }
  for _, ref in ipairs(redis.call('LRANGE', KEY.steps(run, parent_ref), 0, -1)) do keys[#keys + 1] = KEY.raw(run, ref) end
  redis.call('DEL', unpack(keys)) -- at most a thousand: CHAIN_STEPS
end

return steps
