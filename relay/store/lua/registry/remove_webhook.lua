-- remove_webhook: removes a webhook's registration, unless another webhook uses it (as a step or as its callback).
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 actor, then the decisions (include/decisions.lua)
-- Returns the ids of those that use it; if empty, the webhook is not registered (any more); or 'stale' if something was
--         decided since the caller read the chain: nothing was done
--
-- Its revisions stay, and their numbers are never used again. Its policy keeps only the last removed revision:
-- `revisit` ends waiting calls of removed revisions as rejected.
-- needs: audit, decisions, uses

local plugin, webhook = ARGV[1], ARGV[2]

local function note(revision, outcome)
  audit('webhook_remove', ARGV[3], plugin, webhook, revision, outcome, '', '', '')
end

if not may_decide(KEY.decisions(), 4) then return 'stale' end
local users = users_in(plugin, KEY.users(plugin, webhook))
if #users > 0 then
  note('', 'conflict')
  return users
end

local revision = redis.call('HGET', KEY.webhooks(plugin), webhook)
note(revision or '', revision and 'removed' or 'not_found')
if revision then
  local shape = shape_of(plugin, webhook, revision)
  for _, used in ipairs(used_by(shape)) do
    redis.call('SREM', KEY.users(plugin, used), webhook)
  end
  for _, secret in ipairs(secrets_of(shape)) do
    redis.call('SREM', KEY.secret_users(plugin, secret), webhook)
  end
  redis.call('HDEL', KEY.webhooks(plugin), webhook)
  redis.call('DEL', KEY.policy(plugin, webhook))
  local last = redis.call('GET', KEY.last_revision(plugin, webhook)) or revision
  redis.call('HSET', KEY.policy(plugin, webhook), 'removed', last)
  redis.call('SADD', KEY.revisits(), plugin .. '/' .. webhook)
end
decide(KEY.decisions(), 4)
return {}
