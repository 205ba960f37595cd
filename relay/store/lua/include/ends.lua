-- ends: invocations by how they ended.
--
-- A kind of end is state, outcome, first digit of the status and error with colons between, each empty where there is
-- none: `delivered:answered:5:1`. A plugin has few of them, so that "final, failed, since noon" is found without
-- looking at anything else.
-- needs: effects

local function kind_of(state, outcome, status, error)
  return state .. ':' .. outcome .. ':' .. string.sub(status, 1, 1) .. ':' .. error
end

local kinds = {} -- plugin:kind -> the key of its index

local function index_end(plugin, ends, created, ref)
  local kind = kind_of(ends.state, ends.outcome, ends.status, ends.error)
  ends.kind = kind
  local name = plugin .. ':' .. kind
  if not kinds[name] then
    kinds[name] = KEY.ends(plugin, kind)
    redis.call('SADD', KEY.kinds(plugin), kind)
  end
  effect_index(kinds[name], created, ref)
end
