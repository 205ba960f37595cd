-- remove_webhook: removes a webhook's registration, unless another webhook uses it (as a step or as its callback).
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 actor, then the decisions (lib/decisions.lua)
-- Returns the ids of those that use it; if empty, the webhook is not registered (any more); or 'stale' if something was
--         decided since the caller read the chain: nothing was done
--
-- Its revisions stay, and their numbers are never used again. Its policy keeps only the last removed revision:
-- `revisit` ends waiting calls of removed revisions as rejected.

local audit = require('audit')
local decisions = require('decisions')
local KEY = require('keys')
local uses = require('uses')

local function note(run, revision, outcome)
  audit.add(run, 'webhook_remove', run.args[3], run.plugin, run.webhook, revision, outcome, '', '', '')
end

local function main(run)
  run.plugin, run.webhook = run.args[1], run.args[2]

  if not decisions.may_add(run, KEY.decisions(run), 4) then return 'stale' end
  local users = uses.users_in(run, run.plugin, KEY.users(run, run.plugin, run.webhook))
  if #users > 0 then
    note(run, '', 'conflict')
    return users
  end

  local revision = redis.call('HGET', KEY.webhooks(run, run.plugin), run.webhook)
  note(run, revision or '', revision and 'removed' or 'not_found')
  if revision then
    local shape = uses.shape_of(run, run.plugin, run.webhook, revision)
    for _, used in ipairs(uses.used_by(shape)) do
      redis.call('SREM', KEY.users(run, run.plugin, used), run.webhook)
    end
    for _, secret in ipairs(uses.secrets_of(shape)) do
      redis.call('SREM', KEY.secret_users(run, run.plugin, secret), run.webhook)
    end
    redis.call('HDEL', KEY.webhooks(run, run.plugin), run.webhook)
    redis.call('DEL', KEY.policy(run, run.plugin, run.webhook))
    local last = redis.call('GET', KEY.last_revision(run, run.plugin, run.webhook)) or revision
    redis.call('HSET', KEY.policy(run, run.plugin, run.webhook), 'removed', last)
    redis.call('SADD', KEY.revisits(run), run.plugin .. '/' .. run.webhook)
  end
  decisions.add(run, KEY.decisions(run), 4)
  return {}
end

return { kind = 'confirms', run = main }
