-- remove_webhook: ends a webhook's registration, unless another one needs it (a chain for a step, any for its callback).
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 who acts
-- Returns the ids of those that use it; none: it is not registered (any more).
--
-- Its revisions stay, and their numbers are never used again. Of its policy nothing stays but which revisions were removed:
-- calls of these end as rejected, which revisit does.
-- needs: audit, uses

local plugin, webhook = ARGV[1], ARGV[2]

local function note(revision, outcome)
  audit('webhook_remove', ARGV[3], plugin, webhook, revision, outcome, '', '', '')
end

local users = redis.call('SMEMBERS', KEY.users(plugin, webhook))
if #users > 0 then
  note('', 'conflict')
  table.sort(users)
  return users
end

local revision = redis.call('HGET', KEY.webhooks(plugin), webhook)
note(revision or '', revision and 'removed' or 'not_found')
if revision then
  local shape = cjson.decode(redis.call('HGET', KEY.revision(plugin, webhook, revision), 'shape'))
  for _, used in ipairs(used_by(shape)) do
    redis.call('SREM', KEY.users(plugin, used), webhook)
  end
  redis.call('HDEL', KEY.webhooks(plugin), webhook)
  redis.call('HDEL', KEY.pointer_macs(plugin), webhook)
  redis.call('DEL', KEY.policy(plugin, webhook))
  redis.call('HSET', KEY.policy(plugin, webhook), 'removed', redis.call('GET', KEY.last_revision(plugin, webhook)))
  redis.call('SADD', KEY.revisits(), plugin .. '/' .. webhook)
end
return {}
