-- look_up: reads an invocation's record, and adds an audit entry that it was read.
--
-- kind: counts
-- KEYS  1 the root of the partition
-- ARGV  1 reference id  2 plugin ('' for any)  3 actor
-- Returns {fields of the record: name, value, ... (none if that plugin has no such record), ids of its steps (nil if
--         their key is of another type), now (ms)}
--
-- Changes only the audit trail.
-- needs: audit, clock
-- values read_summary: plugin webhook revision state
-- values read_all: *

local ref, plugin = ARGV[1], ARGV[2]
local owner, webhook, revision, state = read_summary(ref)
local fields, steps = {}, {}
if owner and (plugin == '' or owner == plugin) then
  fields, steps = read_all(ref), redis.pcall('LRANGE', KEY.steps(ref), 0, -1)
  if steps.err then steps = false end
  local result = redis.pcall('STRLEN', KEY.result(ref))
  result = type(result) == 'number' and result or 0
  audit('look_up', ARGV[3], owner, webhook or '', revision or '', state or 'damaged', '', result > 0 and result or '', ref)
else
  audit('look_up', ARGV[3], plugin, '', '', 'not_found', '', '', ref)
end
return { fields, steps, now_text }
