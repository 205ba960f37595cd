-- ends: invocations by how they ended.
--
-- A kind of end is state, outcome, first digit of the status and error with colons between, each empty where there is
-- none: `delivered:answered:5:1`. A plugin has few of them, so that "final, failed, since noon" is found without
-- looking at anything else.

local function kind_of(state, outcome, status, error)
  return state .. ':' .. outcome .. ':' .. string.sub(status, 1, 1) .. ':' .. error
end
