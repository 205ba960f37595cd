-- revisions: reads the numbers of webhooks' current revisions, each once per script.

local KEY = require('keys')
local int = require('numbers').int

local revisions = {}

function revisions.current(run, plugin, webhook)
  run.revisions = run.revisions or {} -- plugin -> webhook -> revision, or '' if it is not registered
  local of_plugin = run.revisions[plugin] or {}
  run.revisions[plugin] = of_plugin
  of_plugin[webhook] = of_plugin[webhook] or redis.call('HGET', KEY.webhooks(run, plugin), webhook) or ''
  return of_plugin[webhook]
end

-- Returns whether a call was made for the current revisions: of its webhook ('' if it is not registered) and, for a
-- chain, of all webhooks in its pins (JSON).
function revisions.are_current(run, plugin, webhook, revision, pins)
  if revisions.current(run, plugin, webhook) ~= revision then return false end
  for pinned, number in pairs(pins ~= '' and cjson.decode(pins) or {}) do
    if revisions.current(run, plugin, pinned) ~= int(number) then return false end
  end
  return true
end

return revisions
