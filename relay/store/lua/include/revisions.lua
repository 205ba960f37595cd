-- revisions: reads the number of a webhook's current revision, once per script.

local revisions = {} -- plugin -> webhook -> revision, or '' if it is not registered

local function current_revision(plugin, webhook)
  local of_plugin = revisions[plugin] or {}
  revisions[plugin] = of_plugin
  of_plugin[webhook] = of_plugin[webhook] or redis.call('HGET', KEY.webhooks(plugin), webhook) or ''
  return of_plugin[webhook]
end
