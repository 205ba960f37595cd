-- prune: forget final records whose retention has passed, with everything that names them.
--
-- KEYS  none
-- ARGV  1 limit of records
-- Returns how many were forgotten
-- include: clock

local old = redis.call('ZRANGEBYSCORE', KEY.expiry(), '-inf', int(now), 'LIMIT', 0, tonumber(ARGV[1]))
for _, ref in ipairs(old) do
  local plugin = redis.call('HGET', KEY.record(ref), 'plugin')
  if plugin then redis.call('ZREM', KEY.plugin_index(plugin), ref) end
  redis.call('DEL', KEY.record(ref), KEY.payload(ref), KEY.result(ref), KEY.steps(ref), KEY.raw(ref))
  redis.call('ZREM', KEY.expiry(), ref)
end
return #old
