-- audit_trim: deletes the oldest entries of an audit trail that is not signed.
--
-- KEYS  1 the root of the trail
-- ARGV  1 the oldest entry as it was read  2 how many entries to delete
-- Returns 1, or 0 if another worker has deleted entries since: nothing was done
--
-- Idempotent: a repeated call finds another oldest entry.

local KEY = require('keys')

local function main(run)
  if redis.call('LINDEX', KEY.audit_entries(run), 0) ~= run.args[1] then return 0 end
  redis.call('LTRIM', KEY.audit_entries(run), run.args[2], -1)
  return 1
end

return { kind = 'counts', run = main }
