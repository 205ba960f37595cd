-- list_replay: reads a piece of the list of invocations that a replay job made, newest first. Changes nothing.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 filter (JSON, see filter)  3 position ('' at the beginning)  4 rows wanted  5 ids to examine
--       6 replay id
-- Returns the same as list; a position is '#' and how many of the job's decisions are left, which may have been deleted
--         since

local filter = require('filter')
local KEY = require('keys')
local int = require('numbers').int

local ID_LENGTH = 36 -- a shorter text says why nothing was made

local function main(run)
  local f = filter.from(run.args[2], run.args[1])
  local wanted, most, id = tonumber(run.args[4]), tonumber(run.args[5]), run.args[6]
  local key = KEY.replay_decided(run, id)
  local left = math.min(tonumber(string.match(run.args[3], '^#(%d+)$') or math.huge), redis.call('LLEN', key))
  local first = math.max(0, left - most)
  local decided = left > 0 and redis.call('LRANGE', key, first, left - 1) or {}
  local found, looked = {}, 0
  for index = #decided, 1, -1 do
    if #found == wanted then break end
    left, looked = left - 1, looked + 1
    local r = #decided[index] == ID_LENGTH and filter.read_listed(run, decided[index])
    if r and filter.matches(run, f, r) then table.insert(found, r.ref) end
  end
  return { left > 0 and '#' .. int(left) or '', looked, found }
end

return { kind = 'reads', run = main }
