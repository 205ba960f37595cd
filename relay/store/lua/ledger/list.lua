-- list: reads a piece of the list of a plugin's invocations, newest first. Changes nothing.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 filter (JSON, see filter)  3 position ('' at the beginning)  4 rows wanted  5 records to examine
--       6 a parent's reference id, to list its steps only, or ''
-- Returns {position of the next piece or '' if there is none, how many records were examined, reference ids}

local constants = require('constants')
local filter = require('filter')
local KEY = require('keys')
local number = require('numbers').number
local walks = require('walks')

local FEW = 1000 -- up to this many unfinished ones are collected and sorted, instead of searching among all

local function alarm_keys(run)
  local keys = { KEY.due_running(run) }
  for _, lane in ipairs(constants.LANES) do table.insert(keys, KEY.due_queued(run, lane)) end
  return keys
end

-- Returns all unfinished invocations, which are those with alarms; nothing if there are many.
local function unfinished(run)
  local refs, count = {}, 0
  for _, key in ipairs(alarm_keys(run)) do count = count + redis.call('ZCARD', key) end
  if count > FEW then return nil end
  for _, key in ipairs(alarm_keys(run)) do
    for _, ref in ipairs(redis.call('ZRANGE', key, 0, -1)) do table.insert(refs, ref) end
  end
  return refs
end

-- Returns a piece from unordered ids.
local function sorted(run, refs)
  local items, found = {}, {}
  for _, ref in ipairs(refs) do
    local r = filter.read_listed(run, ref)
    local item = r and { created = number(r.createdAt), ref = ref }
    if r and walks.is_behind(item, run.position) and filter.matches(run, run.f, r) then table.insert(items, item) end
  end
  table.sort(items, function(a, b) return walks.is_behind(b, a) end)
  for index = 1, math.min(run.wanted, #items) do found[index] = items[index].ref end
  return { #items > run.wanted and walks.position_text(items[run.wanted]) or '', #refs, found }
end

-- Returns the ids of a chain's steps; none if their list is damaged, which the chain's own record shows.
local function steps_of(run, chain)
  local refs = redis.pcall('LRANGE', KEY.steps(run, chain), 0, -1)
  return refs.err and {} or refs
end

local function walked(run)
  if run.f['until'] and run.f['until'] < run.position.created then
    run.position = { created = run.f['until'], ref = '~' }
  end
  local walk = walks.from(filter.narrowest(run, run.f), run.position, run.f.since or '-inf')
  local found, looked, last = {}, 0, nil
  while #found < run.wanted and looked < run.most do
    last = walks.next(walk)
    if not last then return { '', looked, found } end
    looked = looked + 1
    local r = filter.read_indexed(run, run.f, last)
    if r and filter.matches(run, run.f, r) then table.insert(found, last.ref) end
  end
  local more = #found < run.wanted or walks.next(walk)
  return { more and walks.position_text(last) or '', looked, found }
end

local function main(run)
  run.f = filter.from(run.args[2], run.args[1])
  local parent = run.args[6]
  run.position, run.wanted, run.most = walks.position_from(run.args[3]), tonumber(run.args[4]), tonumber(run.args[5])

  if parent ~= '' then return sorted(run, steps_of(run, parent)) end
  local few = filter.is_of_unfinished(run.f) and unfinished(run)
  return few and sorted(run, few) or walked(run)
end

return { kind = 'reads', run = main }
