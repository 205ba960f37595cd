-- take: takes waiting calls off the lists of lanes, oldest first, and reads what a worker needs to prepare them.
--
-- kind: counts
-- KEYS  1 the root of the partition
-- ARGV  1 the most calls  2 the most bytes of payloads (one call at least)  3... lanes, most urgent first
-- Returns {more ('1': calls are left), the ids, a row per id (include/rows.lua)}
--
-- A worker that dies with calls in hand, or a lost reply, costs them the grace: then a sweep makes them wait again.
-- needs: rows

local most, bytes_left = tonumber(ARGV[1]), tonumber(ARGV[2])
local refs, rows, more = {}, {}, ''

local function take_from(key)
  local taken = 0
  for _, ref in ipairs(redis.call('LRANGE', key, 0, most - #refs - 1)) do
    if bytes_left < 0 then break end
    local text, payload = row_of(ref)
    refs[#refs + 1] = ref
    rows[#rows + 1] = text
    rows[#rows + 1] = payload
    bytes_left = bytes_left - #payload
    taken = taken + 1
  end
  if taken > 0 then redis.call('LTRIM', key, taken, -1) end
end

for index = 3, #ARGV do
  local key = KEY.waiting(ARGV[index])
  if #refs < most and bytes_left >= 0 then take_from(key) end
  if redis.call('EXISTS', key) == 1 then more = '1' end
end
return { more, refs, rows }
