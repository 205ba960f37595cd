-- revisions: which revision of a webhook is the current one, looked up once a script.

local revisions = {} -- plugin:webhook -> revision, or '' where none is registered

local function current_revision(plugin, webhook)
  local name = plugin .. ':' .. webhook
  revisions[name] = revisions[name] or redis.call('HGET', KEY.webhooks(plugin), webhook) or ''
  return revisions[name]
end
