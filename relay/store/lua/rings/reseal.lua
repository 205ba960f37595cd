-- reseal: replaces a value with its newly sealed form; its time to live stays.
--
-- KEYS  1 the root of the partition
-- ARGV  1 key  2 the value as it was read  3 the same, sealed with the newest key
-- Returns 1 if the key now holds the new value; 0 if it was changed or deleted in the meantime
--
-- Idempotent: a key that already holds the new value is not changed.

local function main(run)
  local before = redis.call('GET', run.args[1])
  if before == run.args[3] then return 1 end
  if before ~= run.args[2] then return 0 end
  redis.call('SET', run.args[1], run.args[3], 'KEEPTTL')
  return 1
end

return { kind = 'confirms', run = main }
