-- set_secret: sets a plugin's secret, to which registrations refer by its name.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 secret  3 its sealed values as they were read ('' if none)  4 its new sealed values
--       5 actor  6 an id of this call, then the decision (include/decisions.lua)
-- Returns 'created' or 'changed', or 'stale' if something was decided since the caller read the chain (nothing is
--         written then)
--
-- Idempotent: no two sealed values are equal, so a secret that holds the new ones was set by this same call.
-- needs: audit, clock, decisions

local plugin, secret, before, new = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local KEPT = 100 -- settings
local outcome = before == '' and 'created' or 'changed'

if not may_decide(KEY.decisions(), 7) then return 'stale' end
local present = redis.call('GET', KEY.secret(plugin, secret)) or ''
if present == new then
  decide(KEY.decisions(), 7)
  return outcome
end
if present ~= before then return 'stale' end
audit('secret_set', ARGV[5], plugin, secret, '', outcome, '', '', '')
redis.call('ZADD', KEY.secret_settings(plugin, secret), now_text, ARGV[6] .. ' ' .. ARGV[5])
redis.call('ZREMRANGEBYRANK', KEY.secret_settings(plugin, secret), 0, -KEPT - 1)
redis.call('SADD', KEY.secret_names(plugin), secret)
redis.call('SADD', KEY.plugins(), plugin)
redis.call('SET', KEY.secret(plugin, secret), new)
decide(KEY.decisions(), 7)
return outcome
