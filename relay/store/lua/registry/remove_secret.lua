-- remove_secret: removes a plugin's secret, unless a registration refers to it.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 secret  3 actor, then the decision (lib/decisions.lua)
-- Returns the ids of the webhooks that refer to it; if empty, there is no such secret (any more); or 'stale' if something
--         was decided since the caller read the chain: nothing was done

local audit = require('audit')
local decisions = require('decisions')
local KEY = require('keys')
local uses = require('uses')

local function main(run)
  local plugin, secret = run.args[1], run.args[2]

  if not decisions.may_add(run, KEY.decisions(run), 4) then return 'stale' end
  local users = uses.users_in(run, plugin, KEY.secret_users(run, plugin, secret))
  local is_set = redis.call('EXISTS', KEY.secret(run, plugin, secret)) == 1
  audit.add(run, 'secret_remove', run.args[3], plugin, secret, '',
    #users > 0 and 'conflict' or is_set and 'removed' or 'not_found', '', '', '')
  if #users > 0 then return users end
  redis.call('SREM', KEY.secret_names(run, plugin), secret)
  redis.call('DEL', KEY.secret(run, plugin, secret), KEY.secret_settings(run, plugin, secret))
  decisions.add(run, KEY.decisions(run), 4)
  return {}
end

return { kind = 'confirms', run = main }
