-- pause: pauses a webhook, whose calls are then accepted and parked, but not sent.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 actor
-- Returns 1
--
-- Idempotent except for the audit entry.
-- needs: audit

local paused = redis.call('HSET', KEY.policy(ARGV[1], ARGV[2]), 'paused', '1')
audit('webhook_pause', ARGV[3], ARGV[1], ARGV[2], '', paused == 1 and 'paused' or 'unchanged', '', '', '')
return 1
