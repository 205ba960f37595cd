-- tally: counts how the invocations of a piece of a plugin's records ended, newest first. Changes nothing.
--
-- kind: reads
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 filter (JSON, see filter)  3 position ('' at the beginning)  4 records to examine
-- Returns {position of the next piece or '' if there is none, groups: {webhook, outcome, status, count, first and
--         last createdAt}, ...}
-- needs: filter, groups, walk

local f = filter_from(ARGV[2], ARGV[1])
local position, most = position_from(ARGV[3]), tonumber(ARGV[4])
if f['until'] and f['until'] < position.created then position = { created = f['until'], ref = '~' } end
local walk, last = walk_from(narrowest(f), position, f.since or '-inf'), nil
for _ = 1, most do
  last = walk_on(walk)
  if not last then break end
  local r = read_indexed(f, last)
  if r and matches(f, r) then group_add(r) end
end
return { position_text(last), groups_list() }
