-- groups: counts the invocations of a webhook that ended in the same way.

local numbers = require('numbers')
local int, number = numbers.int, numbers.number


local groups = {}

-- r: webhook, outcome, status, createdAt.
function groups.add(run, r)
  local name = r.webhook .. ':' .. r.outcome .. ':' .. r.status
  local created = number(r.createdAt)
  run.groups = run.groups or {} -- by webhook, outcome and status
  local g = run.groups[name]
  if not g then
    g = { r.webhook, r.outcome, r.status, 0, created, created }
    run.groups[name] = g
  end
  g[4], g[5], g[6] = g[4] + 1, math.min(g[5], created), math.max(g[6], created)
end

function groups.list(run)
  local list = {}
  for _, g in pairs(run.groups or {}) do table.insert(list, { g[1], g[2], g[3], g[4], int(g[5]), int(g[6]) }) end
  return list
end

return groups
