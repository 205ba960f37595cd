-- close_breaker: closes a webhook's breaker, and notes that the calls that it held back have to be gone through.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 actor
-- Returns 1
--
-- Idempotent except for the audit entry.
-- needs: audit

local plugin, webhook = ARGV[1], ARGV[2]
local closed = redis.call('HDEL', KEY.policy(plugin, webhook), 'failures', 'openUntil', 'openFor', 'probe', 'prober')
redis.call('SADD', KEY.revisits(), plugin .. '/' .. webhook)
audit('webhook_close_breaker', ARGV[3], plugin, webhook, '', closed > 0 and 'closed' or 'unchanged', '', '', '')
return 1
