-- sent: tells whether a request of a call, or of a chain's steps, may have been sent.

local fields = require('fields')
local KEY = require('keys')

local sent = {}

local read_tried = fields.record('state', 'attempts', 'chain', 'restored')

-- Returns whether the request of any attempt in a record was sent, or may have been.
local function may_have_left(attempts)
  return string.find(attempts, '"maybe"', 1, true) or string.find(attempts, '"answered"', 1, true)
end

-- Returns whether a request of a chain's steps may have been sent; a step in `sending` may be doing so, and a chain
-- within the chain that continued after a restore may have had steps that the backup does not know.
local function steps_may_have_left(run, parent_ref)
  for _, ref in ipairs(redis.call('LRANGE', KEY.steps(run, parent_ref), 0, -1)) do
    local step = read_tried(run, ref)
    if step and step.chain == '1' then
      if step.restored == '1' or steps_may_have_left(run, ref) then return true end
    elseif step and (step.state == 'sending' or may_have_left(step.attempts)) then
      return true
    end
  end
  return false
end

-- Returns 'maybe' or 'no' for a call that ends without an acceptable answer.
-- r: ref, attempts ('' or nil if there were none), chain.
function sent.of(run, r)
  local is_chain = r.chain == '1'
  local may = is_chain and (read_tried(run, r.ref).restored == '1' or steps_may_have_left(run, r.ref))
    or not is_chain and may_have_left(r.attempts or '')
  return may and 'maybe' or 'no'
end

return sent
