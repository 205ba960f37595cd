-- reseal: replaces a value by its newly sealed form; its time to live stays.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 key  2 the value as it was read  3 the same, sealed with the newest key
-- Returns 1 if the key holds the new value now; 0 if it was changed or deleted in the meantime
--
-- Idempotent: a key that already holds the new value is not changed.

local before = redis.call('GET', ARGV[1])
if before == ARGV[3] then return 1 end
if before ~= ARGV[2] then return 0 end
redis.call('SET', ARGV[1], ARGV[3], 'KEEPTTL')
return 1
