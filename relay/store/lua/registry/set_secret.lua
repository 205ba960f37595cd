-- set_secret: sets a plugin's secret, which registrations refer to by its name.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 secret  3 its sealed values as they were read ('' if none)  4 its new sealed values
--       5 actor  6 an id of this call, then the decision (lib/decisions.lua)
-- Returns 'created' or 'changed', or 'stale' if something was decided since the caller read the chain (then nothing is
--         written)
--
-- Idempotent: no two sealed values are equal, so a secret that holds the new ones was set by this same call.

local audit = require('audit')
local decisions = require('decisions')
local KEY = require('keys')

local KEPT = 100 -- settings

local function main(run)
  local plugin, secret, before, new = run.args[1], run.args[2], run.args[3], run.args[4]
  local outcome = before == '' and 'created' or 'changed'

  if not decisions.may_add(run, KEY.decisions(run), 7) then return 'stale' end
  local present = redis.call('GET', KEY.secret(run, plugin, secret)) or ''
  if present == new then
    decisions.add(run, KEY.decisions(run), 7)
    return outcome
  end
  if present ~= before then return 'stale' end
  audit.add(run, 'secret_set', run.args[5], plugin, secret, '', outcome, '', '', '')
  redis.call('ZADD', KEY.secret_settings(run, plugin, secret), run.now_text, run.args[6] .. ' ' .. run.args[5])
  redis.call('ZREMRANGEBYRANK', KEY.secret_settings(run, plugin, secret), 0, -KEPT - 1)
  redis.call('SADD', KEY.secret_names(run, plugin), secret)
  redis.call('SADD', KEY.plugins(run), plugin)
  redis.call('SET', KEY.secret(run, plugin, secret), new)
  decisions.add(run, KEY.decisions(run), 7)
  return outcome
end

return { kind = 'confirms', run = main }
