-- look_up: reads an invocation's record, and adds an audit entry that it was read.
--
-- KEYS  1 the root of the partition
-- ARGV  1 reference id  2 plugin ('' for any)  3 actor
-- Returns {fields of the record: name, value, ... (none if that plugin has no such record), ids of its steps (nil if
--         their key is of another type), now (ms)}
--
-- Changes only the audit trail.

local audit = require('audit')
local fields = require('fields')
local KEY = require('keys')

local read_summary = fields.values('plugin', 'webhook', 'revision', 'state')

local function read_all(run, ref)
  return redis.call('HGETALL', KEY.record(run, ref))
end

local function main(run)
  local ref, plugin = run.args[1], run.args[2]
  local owner, webhook, revision, state = read_summary(run, ref)
  local fields, steps = {}, {}
  if owner and (plugin == '' or owner == plugin) then
    fields, steps = read_all(run, ref), redis.pcall('LRANGE', KEY.steps(run, ref), 0, -1)
    if steps.err then steps = false end
    local result = redis.pcall('STRLEN', KEY.result(run, ref))
    result = type(result) == 'number' and result or 0
    audit.add(run, 'look_up', run.args[3], owner, webhook or '', revision or '', state or 'damaged', '',
      result > 0 and result or '', ref)
  else
    audit.add(run, 'look_up', run.args[3], plugin, '', '', 'not_found', '', '', ref)
  end
  return { fields, steps, run.now_text }
end

return { kind = 'counts', run = main }
