-- enforce: pauses a webhook, and writes its limits, as was decided, where its policy says otherwise.
--
-- It resumes none: where an older chain was put back while no process ran, the policy's pause is all that is left.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 actor  4 paused ('1', or '' to leave that)  5-8 concurrency, rateCount, ratePeriod, retry, as in
--       its policy, then the end of the chain (include/decisions.lua)
-- Returns 1, or 'stale' if something was decided since the caller read the chain: nothing was done
-- needs: audit, decisions

if not may_decide(KEY.decisions(), 9) then return 'stale' end
local plugin, webhook, policy = ARGV[1], ARGV[2], KEY.policy(ARGV[1], ARGV[2])
local found = redis.call('HMGET', policy, 'paused', 'concurrency', 'rateCount', 'ratePeriod', 'retry')
local is_decided = ARGV[4] == '' or found[1] == ARGV[4]
for index = 2, 5 do is_decided = is_decided and (found[index] or '') == ARGV[3 + index] end
if is_decided then return 1 end
if ARGV[4] ~= '' then redis.call('HSET', policy, 'paused', ARGV[4]) end
redis.call('HSET', policy, 'concurrency', ARGV[5], 'rateCount', ARGV[6], 'ratePeriod', ARGV[7], 'retry', ARGV[8])
redis.call('SADD', KEY.revisits(), plugin .. '/' .. webhook) -- it may let waiting calls go
audit('decisions_restore', ARGV[3], plugin, webhook, '', 'restored', '', '', '')
return 1
