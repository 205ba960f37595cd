-- list: reads a piece of the list of a plugin's invocations, newest first. Changes nothing.
--
-- kind: reads
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 filter (JSON, see filter)  3 position ('' at the beginning)  4 rows wanted  5 records to examine
--       6 a parent's reference id, to list its steps only, or ''
-- Returns {position of the next piece or '' if there is none, how many records were examined, reference ids}
-- needs: clock, filter, walk

local FEW = 1000 -- up to this many unfinished ones are collected and sorted, not searched among all
local f = filter_from(ARGV[2], ARGV[1])
local position, wanted, most, parent = position_from(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]

local function alarm_keys()
  local keys = { KEY.due_running() }
  for _, lane in ipairs(LANES) do table.insert(keys, KEY.due_queued(lane)) end
  return keys
end

-- Returns all unfinished invocations, which are those with alarms; nothing if there are many.
local function unfinished()
  local refs, count = {}, 0
  for _, key in ipairs(alarm_keys()) do count = count + redis.call('ZCARD', key) end
  if count > FEW then return nil end
  for _, key in ipairs(alarm_keys()) do
    for _, ref in ipairs(redis.call('ZRANGE', key, 0, -1)) do table.insert(refs, ref) end
  end
  return refs
end

-- Returns a piece from ids that are in no order.
local function sorted(refs)
  local items, found = {}, {}
  for _, ref in ipairs(refs) do
    local r = read_listed(ref)
    local item = r and { created = number(r.createdAt), ref = ref }
    if r and is_behind(item, position) and matches(f, r) then table.insert(items, item) end
  end
  table.sort(items, function(a, b) return is_behind(b, a) end)
  for index = 1, math.min(wanted, #items) do found[index] = items[index].ref end
  return { #items > wanted and position_text(items[wanted]) or '', #refs, found }
end

-- Returns the ids of a chain's steps; none if their list is damaged, which the chain's own record tells.
local function steps_of(chain)
  local refs = redis.pcall('LRANGE', KEY.steps(chain), 0, -1)
  return refs.err and {} or refs
end

local function walked()
  if f['until'] and f['until'] < position.created then position = { created = f['until'], ref = '~' } end
  local walk, found, looked, last = walk_from(narrowest(f), position, f.since or '-inf'), {}, 0, nil
  while #found < wanted and looked < most do
    last = walk_on(walk)
    if not last then return { '', looked, found } end
    looked = looked + 1
    local r = read_indexed(f, last)
    if r and matches(f, r) then table.insert(found, last.ref) end
  end
  local more = #found < wanted or walk_on(walk)
  return { more and position_text(last) or '', looked, found }
end

if parent ~= '' then return sorted(steps_of(parent)) end
local few = is_of_unfinished(f) and unfinished()
return few and sorted(few) or walked()
