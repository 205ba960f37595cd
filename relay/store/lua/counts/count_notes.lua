-- count_notes: adds the amounts of a plugin's oldest notes to its counts, and deletes those notes.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 how many notes had been counted before  3 how many notes these are
--       4 seconds for which counts of a minute or an hour are kept
--       5... name (totals, minute or hour), its number ('' for totals), webhook ('' if the name has none), n, then n
--       times: field count
-- Returns 1, or 0 if another process has counted in the meantime: nothing was done
--
-- Idempotent: a repeated call finds another number of counted notes. That number is written first, and then the notes
-- are deleted, so that no note is ever counted twice; a repeated call only makes sure that all counts expire.

local damage = require('damage')
local KEY = require('keys')
local whole = require('numbers').whole

local function key_of(run, name, at_time, webhook)
  if name == 'minute' then return KEY.minute(run, run.plugin, at_time, webhook) end
  if name == 'hour' then return KEY.hour(run, run.plugin, at_time) end
  return KEY.totals(run, run.plugin)
end

local function main(run)
  local before, count, keep = run.args[2], tonumber(run.args[3]), tonumber(run.args[4])
  run.plugin = run.args[1]
  local is_first = (redis.call('GET', KEY.counted(run, run.plugin)) or '0') == before

  if is_first then
    if not whole(before) then redis.call('SET', KEY.counted(run, run.plugin), 0) end -- damaged
    redis.call('INCRBY', KEY.counted(run, run.plugin), count)
    redis.call('LTRIM', KEY.notes(run, run.plugin), count, -1)
  end
  local at = 5
  while run.args[at] do
    local key, n = key_of(run, run.args[at], run.args[at + 1], run.args[at + 2]), tonumber(run.args[at + 3])
    if is_first then
      -- A damaged count stays damaged, and stops no other.
      for index = at + 4, at + 2 + 2 * n, 2 do
        damage.try(redis.call, 'HINCRBY', key, run.args[index], run.args[index + 1])
      end
    end
    if run.args[at] ~= 'totals' then redis.call('EXPIRE', key, keep) end
    at = at + 4 + 2 * n
  end
  return is_first and 1 or 0
end

return { kind = 'counts', is_fenced = true, run = main }
