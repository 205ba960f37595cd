-- groups: counts the invocations of a webhook that ended in the same way.
-- needs: clock

local groups = {}

-- r: webhook, outcome, status, createdAt.
local function group_add(r)
  local name = r.webhook .. ':' .. r.outcome .. ':' .. r.status
  local created = number(r.createdAt)
  local g = groups[name]
  if not g then
    g = { r.webhook, r.outcome, r.status, 0, created, created }
    groups[name] = g
  end
  g[4], g[5], g[6] = g[4] + 1, math.min(g[5], created), math.max(g[6], created)
end

local function groups_list()
  local list = {}
  for _, g in pairs(groups) do table.insert(list, { g[1], g[2], g[3], g[4], int(g[5]), int(g[6]) }) end
  return list
end
