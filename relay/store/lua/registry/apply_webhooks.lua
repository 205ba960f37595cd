-- apply_webhooks: makes a registration document current, as a whole or not at all.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 n  3 actor  4 name of the act, then n times: webhook, its current revision ('' if none),
--       its new revision ('' if nothing changes), shape, sealed target, stamp (all three '' if nothing changes),
--       concurrency, rateCount, ratePeriod, retry, as its policy has them; then the decisions (include/decisions.lua)
-- Returns 'applied', or 'stale' if something was decided since the caller read the chain, or a secret that a webhook
--         refers to is missing (nothing is written then).
--
-- Idempotent: no two sealed targets are equal (their nonces are random), so a revision that holds this target was
-- written by this same call, and so were all others. Revisions are immutable: none is overwritten.
-- needs: audit, clock, decisions, uses

local plugin, count = ARGV[1], tonumber(ARGV[2])
local WIDTH = 10

local function item(index)
  local at = 4 + (index - 1) * WIDTH
  return {
    at = at,
    webhook = ARGV[at + 1], current = ARGV[at + 2],
    new = ARGV[at + 3], shape = ARGV[at + 4], target = ARGV[at + 5], stamp = ARGV[at + 6],
  }
end

local function is_written(each)
  return each.new ~= '' and redis.call('GET', KEY.target(plugin, each.webhook, each.new)) == each.target
end

local function has_its_secrets(each)
  for _, secret in ipairs(each.new ~= '' and secrets_of(cjson.decode(each.shape)) or {}) do
    if redis.call('EXISTS', KEY.secret(plugin, secret)) == 0 then return false end
  end
  return true
end

-- Adds the audit entry; of the document it records only the size.
local function note(each)
  local outcome = each.new == '' and 'unchanged' or each.current == '' and 'created' or 'changed'
  local revision, size = each.new == '' and each.current or each.new, #each.shape + #each.target
  audit(ARGV[4], ARGV[3], plugin, each.webhook, revision, outcome, '', size > 0 and size or '', '')
end

-- Updates the users of the webhooks and secrets that this one uses.
local function write_uses(each)
  local old, new = shape_of(plugin, each.webhook, each.current), cjson.decode(each.shape)
  for _, used in ipairs(used_by(old)) do redis.call('SREM', KEY.users(plugin, used), each.webhook) end
  for _, secret in ipairs(secrets_of(old)) do redis.call('SREM', KEY.secret_users(plugin, secret), each.webhook) end
  for _, used in ipairs(used_by(new)) do redis.call('SADD', KEY.users(plugin, used), each.webhook) end
  for _, secret in ipairs(secrets_of(new)) do redis.call('SADD', KEY.secret_users(plugin, secret), each.webhook) end
end

-- Writes the limits that the claim script enforces; the policy's other fields (pause, rate, breaker) stay.
local function write_limits(each)
  redis.call('HSET', KEY.policy(plugin, each.webhook), 'concurrency', ARGV[each.at + 7], 'rateCount', ARGV[each.at + 8],
    'ratePeriod', ARGV[each.at + 9], 'retry', ARGV[each.at + 10])
end

local decisions_at = 5 + count * WIDTH
for index = 1, count do
  if is_written(item(index)) then return 'applied' end
end
for index = 1, count do
  if not has_its_secrets(item(index)) then return 'stale' end
end
if not may_decide(KEY.decisions(), decisions_at) then return 'stale' end
for index = 1, count do
  local each = item(index)
  note(each)
  if each.new ~= '' then
    redis.call('HSET', KEY.revision(plugin, each.webhook, each.new), 'shape', each.shape, 'createdAt', int(now),
      'by', ARGV[3], 'stamp', each.stamp)
    redis.call('SET', KEY.target(plugin, each.webhook, each.new), each.target)
    redis.call('SET', KEY.last_revision(plugin, each.webhook), each.new)
    redis.call('HSET', KEY.webhooks(plugin), each.webhook, each.new)
    write_limits(each)
    redis.call('SADD', KEY.revisits(), plugin .. '/' .. each.webhook) -- other limits may let waiting calls go
    write_uses(each)
  end
end
redis.call('SADD', KEY.plugins(), plugin)
decide(KEY.decisions(), decisions_at)
return 'applied'
