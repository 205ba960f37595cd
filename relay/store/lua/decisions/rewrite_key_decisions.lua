-- rewrite_key_decisions: replaces what was decided about API keys, as `rewrite_decisions` does for webhooks.
--
-- KEYS  1 the root of the shared keys
-- ARGV  1 act for the audit trail ('' for none)  2 its actor, then the chain, all of it as entries to
--       add (lib/decisions.lua)
-- Returns 1, or 0 if the chain was changed since it was read: nothing was done

local decisions = require('decisions')
local KEY = require('keys')

local function main(run)
  return decisions.replace(run, KEY.key_decisions(run), 3, run.args[1], run.args[2])
end

return { kind = 'confirms', is_shared = true, run = main }
