-- remove_secret: removes a plugin's secret, unless a registration refers to it.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 secret  3 actor, then the decision (include/decisions.lua)
-- Returns the ids of the webhooks that refer to it; if empty, there is no such secret (any more); or 'stale' if something
--         was decided since the caller read the chain: nothing was done
-- needs: audit, decisions, uses

local plugin, secret = ARGV[1], ARGV[2]

if not may_decide(KEY.decisions(), 4) then return 'stale' end
local users = users_in(plugin, KEY.secret_users(plugin, secret))
local is_set = redis.call('EXISTS', KEY.secret(plugin, secret)) == 1
audit('secret_remove', ARGV[3], plugin, secret, '',
  #users > 0 and 'conflict' or is_set and 'removed' or 'not_found', '', '', '')
if #users > 0 then return users end
redis.call('SREM', KEY.secret_names(plugin), secret)
redis.call('DEL', KEY.secret(plugin, secret), KEY.secret_settings(plugin, secret))
decide(KEY.decisions(), 4)
return {}
