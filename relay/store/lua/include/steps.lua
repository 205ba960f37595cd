-- steps: makes a chain's parent ready when its steps have ended, and deletes what only the chain needed.
-- needs: ready
-- record read_state_and_lane: state lane
-- record read_unsent: state callback plugin webhook requestBytes waiters parked parent chain lane createdAt replay
--   attempts

-- Counts an ended step; the last one of its parent's current step makes the parent ready.
-- A parent whose record is gone is left alone: counting would create its key again, and nothing would ever delete it.
local function step_ended(parent_ref)
  local parent = read_state_and_lane(parent_ref)
  if not parent then return end
  local open = redis.call('HINCRBY', KEY.record(parent_ref), 'open', -1)
  if open > 0 then return end
  if parent.state == 'waiting' then
    redis.call('HSET', KEY.record(parent_ref), 'state', 'queued')
    make_ready(parent_ref, parent.lane)
  end
end

-- For a repeated call: returns a parent as ready again if its step has ended and no worker has claimed it since.
local function parent_again(parent_ref)
  local parent = parent_ref ~= '' and read_state_and_lane(parent_ref)
  if parent and parent.state == 'queued' then
    add_ready(parent_ref, parent.lane)
  end
end

-- Deletes, when a chain ends, what only the chain needed of its steps' answers, secrets included.
local function forget_raw(parent_ref)
  local keys = { KEY.secrets(parent_ref) }
  for _, ref in ipairs(redis.call('LRANGE', KEY.steps(parent_ref), 0, -1)) do keys[#keys + 1] = KEY.raw(ref) end
  redis.call('DEL', unpack(keys)) -- at most a thousand: CHAIN_STEPS
end
