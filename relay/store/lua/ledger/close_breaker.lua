-- close_breaker: closes a webhook's breaker, and notes that the calls that it held back must be revisited.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 actor
-- Returns 1
--
-- Idempotent except for the audit entry.

local audit = require('audit')
local KEY = require('keys')

local function main(run)
  local plugin, webhook = run.args[1], run.args[2]
  local closed = redis.call('HDEL', KEY.policy(run, plugin, webhook), 'failures', 'openUntil', 'openFor', 'probe', 'prober')
  redis.call('SADD', KEY.revisits(run), plugin .. '/' .. webhook)
  local outcome = closed > 0 and 'closed' or 'unchanged'
  audit.add(run, 'webhook_close_breaker', run.args[3], plugin, webhook, '', outcome, '', '', '')
  return 1
end

return { kind = 'confirms', is_fenced = true, run = main }
