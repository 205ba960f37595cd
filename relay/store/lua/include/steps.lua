-- steps: how a chain's parent and its steps move each other.
-- needs: places
-- record read_lane: state lane
-- record read_unsent: state callback plugin webhook requestBytes waiters parked parent chain lane createdAt replay

-- A step has ended: the last one of its parent's current step makes the parent ready.
-- One that is gone already counts nothing: its key would come back, and nobody would ever take it away.
local function step_ended(parent_ref)
  local parent = read_lane(parent_ref)
  if not parent then return end
  local open = redis.call('HINCRBY', KEY.record(parent_ref), 'open', -1)
  if open > 0 then return end
  if parent.state == 'waiting' then
    redis.call('HSET', KEY.record(parent_ref), 'state', 'queued')
    make_ready(parent_ref, parent.lane)
  end
end

-- Said again for a repeated call: a parent whose step has ended, and that nobody has taken since.
local function parent_again(parent_ref)
  local parent = parent_ref ~= '' and read_lane(parent_ref)
  if parent and parent.state == 'queued' then
    say_ready(parent_ref, parent.lane)
  end
end

-- What only the chain itself needed of its steps' answers, secrets included, goes when it ends.
local function forget_raw(parent_ref)
  local keys = { KEY.secrets(parent_ref) }
  for _, ref in ipairs(redis.call('LRANGE', KEY.steps(parent_ref), 0, -1)) do keys[#keys + 1] = KEY.raw(ref) end
  redis.call('DEL', unpack(keys)) -- at most a thousand: CHAIN_STEPS
end
