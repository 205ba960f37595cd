-- apply_webhooks: makes a registration document current, as a whole or not at all.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 n  3 actor  4 name of the act, then n times: webhook, its current revision ('' if none),
--       its new revision ('' if nothing changes), shape, sealed target, stamp (all three '' if nothing changes),
--       concurrency, rateCount, ratePeriod, retry, as its policy has them; then the decisions (lib/decisions.lua)
-- Returns 'applied', or 'stale' if something was decided since the caller read the chain, or a secret that a webhook
--         refers to is missing (then nothing is written).
--
-- Idempotent: no two sealed targets are equal (their nonces are random), so a revision that holds this target was
-- written by this same call, and so were all others. Revisions are immutable: none is overwritten.

local audit = require('audit')
local decisions = require('decisions')
local KEY = require('keys')
local uses = require('uses')

local WIDTH = 10

local function item(run, index)
  local args = run.args
  local at = 4 + (index - 1) * WIDTH
  return {
    at = at,
    webhook = args[at + 1], current = args[at + 2],
    new = args[at + 3], shape = args[at + 4], target = args[at + 5], stamp = args[at + 6],
  }
end

local function is_written(run, each)
  return each.new ~= '' and redis.call('GET', KEY.target(run, run.plugin, each.webhook, each.new)) == each.target
end

local function has_its_secrets(run, each)
  for _, secret in ipairs(each.new ~= '' and uses.secrets_of(cjson.decode(each.shape)) or {}) do
    if redis.call('EXISTS', KEY.secret(run, run.plugin, secret)) == 0 then return false end
  end
  return true
end

-- Adds the audit entry, which has only the size of the document.
local function note(run, each)
  local outcome = each.new == '' and 'unchanged' or each.current == '' and 'created' or 'changed'
  local revision, size = each.new == '' and each.current or each.new, #each.shape + #each.target
  audit.add(run, run.args[4], run.args[3], run.plugin, each.webhook, revision, outcome, '', size > 0 and size or '', '')
end

-- Updates the users of the webhooks and secrets that this one uses.
local function write_uses(run, each)
  local old, new = uses.shape_of(run, run.plugin, each.webhook, each.current), cjson.decode(each.shape)
  for _, used in ipairs(uses.used_by(old)) do redis.call('SREM', KEY.users(run, run.plugin, used), each.webhook) end
  for _, secret in ipairs(uses.secrets_of(old)) do
    redis.call('SREM', KEY.secret_users(run, run.plugin, secret), each.webhook)
  end
  for _, used in ipairs(uses.used_by(new)) do redis.call('SADD', KEY.users(run, run.plugin, used), each.webhook) end
  for _, secret in ipairs(uses.secrets_of(new)) do
    redis.call('SADD', KEY.secret_users(run, run.plugin, secret), each.webhook)
  end
end

-- Writes the limits that the claim script enforces; the policy's other fields (pause, rate, breaker) stay.
local function write_limits(run, each)
  redis.call('HSET', KEY.policy(run, run.plugin, each.webhook), 'concurrency', run.args[each.at + 7], 'rateCount',
    run.args[each.at + 8], 'ratePeriod', run.args[each.at + 9], 'retry', run.args[each.at + 10])
end

local function main(run)
  local count = tonumber(run.args[2])
  run.plugin = run.args[1]

  local decisions_at = 5 + count * WIDTH
  for index = 1, count do
    if is_written(run, item(run, index)) then return 'applied' end
  end
  for index = 1, count do
    if not has_its_secrets(run, item(run, index)) then return 'stale' end
  end
  if not decisions.may_add(run, KEY.decisions(run), decisions_at) then return 'stale' end
  for index = 1, count do
    local each = item(run, index)
    note(run, each)
    if each.new ~= '' then
      redis.call('HSET', KEY.revision(run, run.plugin, each.webhook, each.new), 'shape', each.shape, 'createdAt',
        run.now_text, 'by', run.args[3], 'stamp', each.stamp)
      redis.call('SET', KEY.target(run, run.plugin, each.webhook, each.new), each.target)
      redis.call('SET', KEY.last_revision(run, run.plugin, each.webhook), each.new)
      redis.call('HSET', KEY.webhooks(run, run.plugin), each.webhook, each.new)
      write_limits(run, each)
      redis.call('SADD', KEY.revisits(run), run.plugin .. '/' .. each.webhook) -- other limits may let waiting calls go
      write_uses(run, each)
    end
  end
  redis.call('SADD', KEY.plugins(run), run.plugin)
  decisions.add(run, KEY.decisions(run), decisions_at)
  return 'applied'
end

return { kind = 'confirms', run = main }
