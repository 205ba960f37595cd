-- remove_webhook: ends a webhook's registration, unless a chain has it among its steps.
--
-- KEYS  none (names come from KEY)
-- ARGV  1 plugin  2 webhook
-- Returns the ids of the chains that use it; none: it is not registered (any more).
--
-- Its revisions stay, and their numbers are never used again.

local plugin, webhook = ARGV[1], ARGV[2]

local users = redis.call('SMEMBERS', KEY.users(plugin, webhook))
if #users > 0 then
  table.sort(users)
  return users
end

local revision = redis.call('HGET', KEY.webhooks(plugin), webhook)
if revision then
  local shape = cjson.decode(redis.call('HGET', KEY.revision(plugin, webhook, revision), 'shape'))
  for _, used in ipairs(shape.uses) do
    redis.call('SREM', KEY.users(plugin, used), webhook)
  end
  redis.call('HDEL', KEY.webhooks(plugin), webhook)
  redis.call('HDEL', KEY.pointer_macs(plugin), webhook)
end
return {}
