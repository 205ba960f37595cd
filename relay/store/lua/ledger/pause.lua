-- pause: pauses a webhook, whose calls are then accepted and parked, but not sent.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 actor, then the decision (include/decisions.lua)
-- Returns 1, or 'stale' if something was decided since the caller read the chain: nothing was done
--
-- Idempotent except for the audit entry.
-- needs: audit, decisions

if not may_decide(KEY.decisions(), 4) then return 'stale' end
local paused = redis.call('HSET', KEY.policy(ARGV[1], ARGV[2]), 'paused', '1')
audit('webhook_pause', ARGV[3], ARGV[1], ARGV[2], '', paused == 1 and 'paused' or 'unchanged', '', '', '')
decide(KEY.decisions(), 4)
return 1
