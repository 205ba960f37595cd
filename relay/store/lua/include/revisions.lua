-- revisions: which revision of a webhook is the current one, looked up once a script.

local revisions = {} -- plugin -> webhook -> revision, or '' where none is registered

local function current_revision(plugin, webhook)
  local of_plugin = revisions[plugin] or {}
  revisions[plugin] = of_plugin
  of_plugin[webhook] = of_plugin[webhook] or redis.call('HGET', KEY.webhooks(plugin), webhook) or ''
  return of_plugin[webhook]
end
