-- walks: merges the ids of several sorted sets, newest first, from a position on.
--
-- A position is createdAt and id of the last id that was examined, 'ms:id', or '' at the beginning. It stays valid
-- while ids come and go.

local int = require('numbers').int


local walks = {}

local CHUNK = 64

function walks.position_from(text)
  local created, ref = string.match(text, '^(%d+):(.+)$')
  return { created = tonumber(created or 9007199254740991), ref = ref or '~' }
end

function walks.position_text(position)
  return position and int(position.created) .. ':' .. position.ref or ''
end

-- Returns whether `a` comes after `b`.
function walks.is_behind(a, b)
  return a.created < b.created or (a.created == b.created and a.ref < b.ref)
end

local function refill(source)
  source.items, source.at = {}, 1
  local found
  local offset = 0
  repeat
    found = redis.call('ZREVRANGEBYSCORE', source.key, int(source.last.created), source.since, 'WITHSCORES', 'LIMIT',
      offset, CHUNK)
    for index = 1, #found, 2 do
      local item = { ref = found[index], created = tonumber(found[index + 1]) }
      if walks.is_behind(item, source.last) then table.insert(source.items, item) end
    end
    offset = offset + CHUNK
  until #source.items > 0 or #found < 2 * CHUNK
  source.last = source.items[#source.items] or source.last
end

-- since: '-inf', or the oldest createdAt.
function walks.from(keys, position, since)
  local walk = { sources = {} }
  for _, key in ipairs(keys) do
    table.insert(walk.sources, { key = key, last = position, since = since, items = {}, at = 1 })
  end
  return walk
end

-- Returns the next id as {created, ref}, or nothing.
function walks.next(walk)
  local best
  for index = #walk.sources, 1, -1 do
    local source = walk.sources[index]
    if not source.items[source.at] then refill(source) end
    local item = source.items[source.at]
    if not item then
      table.remove(walk.sources, index)
    elseif not best or walks.is_behind(best.items[best.at], item) then
      best = source
    end
  end
  if not best then return nil end
  best.at = best.at + 1
  return best.items[best.at - 1]
end

return walks
