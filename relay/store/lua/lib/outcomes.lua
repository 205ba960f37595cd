-- outcomes: names the kinds of ends that final invocations are indexed by, and distinguishes good ones from others.
--
-- A kind is state, outcome, first digit of the status and error, separated by colons, each empty if missing:
-- `delivered:answered:5:1`. A plugin has few kinds, so a search such as "failed since noon" reads only the indexes of
-- the kinds that match.

local outcomes = {}

function outcomes.kind_of(state, outcome, status, error)
  return state .. ':' .. outcome .. ':' .. string.sub(status, 1, 1) .. ':' .. error
end

-- Returns whether an invocation was answered without error.
function outcomes.is_delivered(state, error)
  return state == 'delivered' and error == '0'
end

return outcomes
