-- list_replay: reads a piece of the list of invocations that a replay job made, newest first. Changes nothing.
--
-- kind: reads
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 filter (JSON, see filter)  3 position ('' at the beginning)  4 rows wanted  5 ids to examine
--       6 replay id
-- Returns the same as list; a position is '#' and how many of the job's decisions are left, which may have been deleted
--         since
-- needs: clock, filter

local ID_LENGTH = 36 -- a shorter text tells why nothing was made
local f = filter_from(ARGV[2], ARGV[1])
local wanted, most, id = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local left = math.min(tonumber(string.match(ARGV[3], '^#(%d+)$') or math.huge), redis.call('LLEN', KEY.replay_decided(id)))
local first = math.max(0, left - most)
local decided, found, looked = left > 0 and redis.call('LRANGE', KEY.replay_decided(id), first, left - 1) or {}, {}, 0
for index = #decided, 1, -1 do
  if #found == wanted then break end
  left, looked = left - 1, looked + 1
  local r = #decided[index] == ID_LENGTH and read_listed(decided[index])
  if r and matches(f, r) then table.insert(found, r.ref) end
end
return { left > 0 and '#' .. int(left) or '', looked, found }
