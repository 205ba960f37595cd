-- drop_contents: deletes the contents of a plugin's oldest final records, if it keeps too many bytes; the records stay.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 how many bytes it may keep  3 limit of records that lose their contents; it examines four times as many
-- Returns {how many records lost their contents, '1' if it still keeps too many bytes and there are newer records}
--
-- The position is kept between runs, so that each record is examined once. After the newest record it starts again at
-- the oldest, since records that were not final before may be final now.

local fields = require('fields')
local KEY = require('keys')
local record = require('record')

local read_kept = fields.record('state', 'keptBytes')

local function main(run)
  local bytes = KEY.plugin_bytes(run, run.args[1])
  local most, limit = tonumber(run.args[2]), tonumber(run.args[3])
  local found = redis.call('HMGET', bytes, 'kept', 'from')
  local kept, from = tonumber(found[1] or 0), found[2] or '-inf'
  local dropped, freed, examined = 0, 0, 4 * limit

  local looked = redis.call('ZRANGEBYSCORE', KEY.plugin_index(run, run.args[1]), from, '+inf', 'WITHSCORES', 'LIMIT',
    0, examined)
  if kept <= most then looked = {} end
  local more = #looked == 2 * examined
  if more then -- and all others of the last millisecond: the next run begins after it
    local last = looked[#looked]
    for _, each in ipairs(redis.call('ZRANGEBYSCORE', KEY.plugin_index(run, run.args[1]), last, last, 'WITHSCORES')) do
      looked[#looked + 1] = each
    end
  end
  for index = 1, #looked, 2 do
    local ref, at = looked[index], looked[index + 1]
    if kept - freed <= most or dropped == limit then -- the next run begins here
      from, more = at, true
      break
    end
    from = '(' .. at
    local r = fields.read(run, ref, 'keptBytes')[1] and read_kept(run, ref) -- a waiting call keeps nothing yet
    if r and record.FINAL[r.state] and r.keptBytes ~= '' then
      redis.call('DEL', KEY.payload(run, ref), KEY.result(run, ref)) -- a running chain needs its steps' answers (KEY.raw)
      redis.call('HDEL', KEY.record(run, ref), 'keptBytes')
      dropped, freed = dropped + 1, freed + tonumber(r.keptBytes)
    end
  end
  local over = kept - freed > most
  if over and not more then from = '-inf' end
  if kept > most then redis.call('HSET', bytes, 'kept', string.format('%.0f', kept - freed), 'from', from) end
  return { dropped, over and more and '1' or '' }
end

return { kind = 'counts', is_fenced = true, run = main }
