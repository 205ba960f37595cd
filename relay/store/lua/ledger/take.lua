-- take: takes waiting calls off the lists of lanes, oldest first, and reads what a worker needs to prepare them.
--
-- KEYS  1 the root of the partition
-- ARGV  1 the most calls  2 the most bytes of payloads (one call at least)  3... lanes, most urgent first
-- Returns {more ('1': calls are left), the ids, a row per id (lib/rows.lua)}
--
-- If a worker dies with calls in hand, or the reply is lost, a sweep makes these calls wait again after the grace.

local KEY = require('keys')
local rows = require('rows')

local function take_from(run, key)
  local taken = 0
  for _, ref in ipairs(redis.call('LRANGE', key, 0, run.most - #run.refs - 1)) do
    if run.bytes_left < 0 then break end
    local text, payload = rows.row_of(run, ref)
    run.refs[#run.refs + 1] = ref
    run.rows[#run.rows + 1] = text
    run.rows[#run.rows + 1] = payload
    run.bytes_left = run.bytes_left - #payload
    taken = taken + 1
  end
  if taken > 0 then redis.call('LTRIM', key, taken, -1) end
end

local function main(run)
  run.most, run.bytes_left = tonumber(run.args[1]), tonumber(run.args[2])
  local more = ''
  run.refs, run.rows = {}, {}

  for index = 3, #run.args do
    local key = KEY.waiting(run, run.args[index])
    if #run.refs < run.most and run.bytes_left >= 0 then take_from(run, key) end
    if redis.call('EXISTS', key) == 1 then more = '1' end
  end
  return { more, run.refs, run.rows }
end

return { kind = 'counts', is_fenced = true, run = main }
