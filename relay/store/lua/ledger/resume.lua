-- resume: resumes a webhook, and makes its parked calls ready, a page at a time.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 grace_ms  4 offset  5 limit  6 actor, then, if the offset is 0, the decision
--       (include/decisions.lua)
-- Returns ready: ref, lane, ...: no more calls than the webhook has capacity for; or 'stale' if something was decided since
--         the caller read the chain: nothing was done
-- needs: audit, decisions, parking, permits, policy, ready

grace_from(3)
local offset, limit = tonumber(ARGV[4]), tonumber(ARGV[5])
if offset == 0 and not may_decide(KEY.decisions(), 7) then return 'stale' end
local resumed = redis.call('HDEL', KEY.policy(ARGV[1], ARGV[2]), 'paused')
if offset == 0 then
  audit('webhook_resume', ARGV[6], ARGV[1], ARGV[2], '', resumed == 1 and 'resumed' or 'unchanged', '', '', '')
  decide(KEY.decisions(), 7)
end
local w = webhook_of(ARGV[1], ARGV[2])
local count = math.min(capacity(w) - offset, limit)
if count >= 1 then
  local key = KEY.parked(w.plugin, w.webhook)
  make_all_ready(key, redis.call('ZRANGE', key, offset, offset + count - 1))
elseif offset == 0 then
  wake(w, 0, {})
end
return ready
