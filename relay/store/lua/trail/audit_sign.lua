-- audit_sign: writes the checkpoint over the entries that are in no segment, or moves entries into a new segment.
--
-- KEYS  1 the root of the trail
-- ARGV  1 how many segments there were when it was read  2 the checkpoint as it was read ('' for none)  3 the new one
--       4 how many entries the segment takes (0: none)  5 the segment ('' for none)
--       6 how many entries are covered  7 the last of these as it was read ('' for none)
-- Returns 1, or 0 if another worker has signed or pruned meanwhile, or a server has taken over that lacks an entry:
--         nothing was done
--
-- Idempotent: a repeated call finds more segments, or another checkpoint, than its arguments say.

local KEY = require('keys')

local function main(run)
  local head, taken = KEY.audit_head(run), tonumber(run.args[4])
  if redis.call('LLEN', KEY.audit_segments(run)) ~= tonumber(run.args[1]) then return 0 end
  if (redis.call('GET', head) or '') ~= run.args[2] then return 0 end
  if run.args[7] ~= '' and redis.call('LINDEX', KEY.audit_entries(run), run.args[6] - 1) ~= run.args[7] then return 0 end
  if taken == 0 then
    redis.call('SET', head, run.args[3])
    return 1
  end
  redis.call('RPUSH', KEY.audit_segments(run), run.args[5])
  redis.call('LTRIM', KEY.audit_entries(run), taken, -1)
  redis.call('DEL', head)
  return 1
end

return { kind = 'confirms', run = main }
