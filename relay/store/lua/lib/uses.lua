-- uses: lists what a webhook uses: a chain's steps and its callback, and the secrets that its target refers to.

local KEY = require('keys')

local uses = {}

-- Returns the shape of a revision, decoded; if it is missing or damaged, one that uses nothing.
function uses.shape_of(run, plugin, webhook, revision)
  local is_read, shape = pcall(cjson.decode, redis.pcall('HGET', KEY.revision(run, plugin, webhook, revision), 'shape'))
  local is_whole = is_read and type(shape) == 'table' and type(shape.uses) == 'table'
  return is_whole and type(shape.secrets or {}) == 'table' and shape or { uses = {} }
end

-- shape: the revision's shape, decoded.
function uses.used_by(shape)
  local used = {}
  for _, webhook in ipairs(shape.uses) do used[#used + 1] = webhook end
  if shape.callback then used[#used + 1] = shape.callback end
  return used
end

function uses.secrets_of(shape) return shape.secrets or {} end

-- Returns the registered webhooks in a set of users, in order. A webhook whose shape was damaged when it was removed is
-- still in the set.
function uses.users_in(run, plugin, set)
  local found = {}
  for _, user in ipairs(redis.call('SMEMBERS', set)) do
    if redis.call('HEXISTS', KEY.webhooks(run, plugin), user) == 1 then found[#found + 1] = user end
  end
  table.sort(found)
  return found
end

return uses
