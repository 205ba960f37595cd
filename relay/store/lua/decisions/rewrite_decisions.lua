-- rewrite_decisions: replaces what was decided about webhooks, to drop replaced entries, to make MACs with another key,
-- or to write back what a process remembers.
--
-- KEYS  1 the root of the partition
-- ARGV  1 act for the audit trail ('' for none)  2 its actor, then the chain, all of it as entries to
--       add (lib/decisions.lua)
-- Returns 1, or 0 if the chain was changed since it was read: nothing was done

local decisions = require('decisions')
local KEY = require('keys')

local function main(run)
  return decisions.replace(run, KEY.decisions(run), 3, run.args[1], run.args[2])
end

return { kind = 'confirms', run = main }
