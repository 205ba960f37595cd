-- tally: counts how the invocations of a piece of a plugin's records ended, newest first. Changes nothing.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 filter (JSON, see filter)  3 position ('' at the beginning)  4 records to examine
-- Returns {position of the next piece or '' if there is none, groups: {webhook, outcome, status, count, first and
--         last createdAt}, ...}

local filter = require('filter')
local groups = require('groups')
local walks = require('walks')

local function main(run)
  local f = filter.from(run.args[2], run.args[1])
  local position, most = walks.position_from(run.args[3]), tonumber(run.args[4])
  if f['until'] and f['until'] < position.created then position = { created = f['until'], ref = '~' } end
  local walk, last = walks.from(filter.narrowest(run, f), position, f.since or '-inf'), nil
  for _ = 1, most do
    last = walks.next(walk)
    if not last then break end
    local r = filter.read_indexed(run, f, last)
    if r and filter.matches(run, f, r) then groups.add(run, r) end
  end
  return { walks.position_text(last), groups.list(run) }
end

return { kind = 'reads', run = main }
