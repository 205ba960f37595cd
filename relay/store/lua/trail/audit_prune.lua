-- audit_prune: deletes the oldest segments of the audit trail, and writes the signed new beginning.
--
-- KEYS  1 the root of the trail
-- ARGV  1 the beginning as it was read ('' for none)  2 the new one  3 how many segments to delete
-- Returns 1, or 0 if another worker has pruned meanwhile: nothing was done
--
-- Idempotent: a repeated call finds a beginning that differs from its first argument.

local KEY = require('keys')

local function main(run)
  local begins = KEY.audit_beginning(run)
  if (redis.call('GET', begins) or '') ~= run.args[1] then return 0 end
  redis.call('SET', begins, run.args[2])
  redis.call('LTRIM', KEY.audit_segments(run), run.args[3], -1)
  return 1
end

return { kind = 'counts', run = main }
