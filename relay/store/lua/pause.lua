-- pause: a webhook sends nothing more; what is accepted is parked.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 who acts
-- Returns 1
--
-- Idempotent but for the trail's entry.
-- needs: audit

local paused = redis.call('HSET', KEY.policy(ARGV[1], ARGV[2]), 'paused', '1')
audit('webhook_pause', ARGV[3], ARGV[1], ARGV[2], '', paused == 1 and 'paused' or 'unchanged', '', '', '')
return 1
