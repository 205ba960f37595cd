-- look_up: reads an invocation's record, and adds an audit entry that it was read.
--
-- KEYS  1 the root of the partition
-- ARGV  1 reference id  2 plugin ('' for any)  3 actor
-- Returns {fields of the record: name, value, ... (none if that plugin has no such record), ids of its steps, now (ms)}
--
-- Changes only the audit trail.
-- needs: audit, clock

local ref, plugin = ARGV[1], ARGV[2]
local f = redis.call('HMGET', KEY.record(ref), 'plugin', 'webhook', 'revision', 'state')
local fields, steps = {}, {}
if f[1] and (plugin == '' or f[1] == plugin) then
  fields, steps = redis.call('HGETALL', KEY.record(ref)), redis.call('LRANGE', KEY.steps(ref), 0, -1)
  local result = redis.call('STRLEN', KEY.result(ref))
  audit('look_up', ARGV[3], f[1], f[2], f[3], f[4], '', result > 0 and result or '', ref)
else
  audit('look_up', ARGV[3], plugin, '', '', 'not_found', '', '', ref)
end
return { fields, steps, now_text }
