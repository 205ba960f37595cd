-- enforce: pauses a webhook, and writes its limits, as was decided, where its policy says otherwise.
--
-- It never resumes a webhook: if an older chain was put back while no process ran, only the policy's pause is left.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 actor  4 paused ('1', or '' to leave that)  5-8 concurrency, rateCount, ratePeriod,
--       retry, as in its policy, then the end of the chain (lib/decisions.lua)
-- Returns 1, or 'stale' if something was decided since the caller read the chain: nothing was done

local audit = require('audit')
local decisions = require('decisions')
local KEY = require('keys')

local function main(run)
  if not decisions.may_add(run, KEY.decisions(run), 9) then return 'stale' end
  local plugin, webhook, policy = run.args[1], run.args[2], KEY.policy(run, run.args[1], run.args[2])
  local found = redis.call('HMGET', policy, 'paused', 'concurrency', 'rateCount', 'ratePeriod', 'retry')
  local is_decided = run.args[4] == '' or found[1] == run.args[4]
  for index = 2, 5 do is_decided = is_decided and (found[index] or '') == run.args[3 + index] end
  if is_decided then return 1 end
  if run.args[4] ~= '' then redis.call('HSET', policy, 'paused', run.args[4]) end
  redis.call('HSET', policy, 'concurrency', run.args[5], 'rateCount', run.args[6], 'ratePeriod', run.args[7],
    'retry', run.args[8])
  redis.call('SADD', KEY.revisits(run), plugin .. '/' .. webhook) -- waiting calls may go now
  audit.add(run, 'decisions_restore', run.args[3], plugin, webhook, '', 'restored', '', '', '')
  return 1
end

return { kind = 'confirms', run = main }
