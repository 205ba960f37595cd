-- revisions: reads the number of a webhook's current revision, once per script.

local KEY = require('keys')

local revisions = {}

function revisions.current(run, plugin, webhook)
  run.revisions = run.revisions or {} -- plugin -> webhook -> revision, or '' if it is not registered
  local of_plugin = run.revisions[plugin] or {}
  run.revisions[plugin] = of_plugin
  of_plugin[webhook] = of_plugin[webhook] or redis.call('HGET', KEY.webhooks(run, plugin), webhook) or ''
  return of_plugin[webhook]
end

return revisions
