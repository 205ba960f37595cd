-- pause: pauses a webhook, whose calls are then accepted and parked, but not sent.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 actor, then the decision (lib/decisions.lua)
-- Returns 1, or 'stale' if something was decided since the caller read the chain: nothing was done
--
-- Idempotent except for the audit entry.

local audit = require('audit')
local decisions = require('decisions')
local KEY = require('keys')

local function main(run)
  if not decisions.may_add(run, KEY.decisions(run), 4) then return 'stale' end
  local paused = redis.call('HSET', KEY.policy(run, run.args[1], run.args[2]), 'paused', '1')
  local outcome = paused == 1 and 'paused' or 'unchanged'
  audit.add(run, 'webhook_pause', run.args[3], run.args[1], run.args[2], '', outcome, '', '', '')
  decisions.add(run, KEY.decisions(run), 4)
  return 1
end

return { kind = 'confirms', run = main }
