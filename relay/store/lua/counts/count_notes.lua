-- count_notes: adds the amounts of a plugin's oldest notes to its counts, and deletes those notes.
--
-- kind: counts
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 how many notes had been counted before  3 how many notes these are
--       4 seconds for which counts of a minute or an hour are kept
--       5... name (totals, minute or hour), its number ('' for totals), webhook ('' if the name has none), n, then n
--       times: field count
-- Returns 1, or 0 if another process has counted in the meantime: nothing was done
--
-- Idempotent: a repeated call finds another number of counted notes. That number is written first, and deleting the
-- notes follows, so that no note is ever counted twice; a repeated call only sees to it that all counts have an end.

local plugin, before, count, keep = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local is_first = (redis.call('GET', KEY.counted(plugin)) or '0') == before

local function key_of(name, at_time, webhook)
  if name == 'minute' then return KEY.minute(plugin, at_time, webhook) end
  if name == 'hour' then return KEY.hour(plugin, at_time) end
  return KEY.totals(plugin)
end

if is_first then
  if not whole(before) then redis.call('SET', KEY.counted(plugin), 0) end -- damaged
  redis.call('INCRBY', KEY.counted(plugin), count)
  redis.call('LTRIM', KEY.notes(plugin), count, -1)
end
local at = 5
while ARGV[at] do
  local key, n = key_of(ARGV[at], ARGV[at + 1], ARGV[at + 2]), tonumber(ARGV[at + 3])
  if is_first then
    -- A count that is damaged stays so, and stops no other.
    for index = at + 4, at + 2 + 2 * n, 2 do try(redis.call, 'HINCRBY', key, ARGV[index], ARGV[index + 1]) end
  end
  if ARGV[at] ~= 'totals' then redis.call('EXPIRE', key, keep) end
  at = at + 4 + 2 * n
end
return is_first and 1 or 0
