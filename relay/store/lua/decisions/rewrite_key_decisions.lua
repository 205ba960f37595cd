-- rewrite_key_decisions: replaces what was decided about API keys, as `rewrite_decisions` does for webhooks.
--
-- kind: confirms
-- KEYS  1 the root of the shared keys
-- ARGV  1 act for the audit trail ('' for none)  2 its actor, then the chain, all of it as entries to
--       add (include/decisions.lua)
-- Returns 1, or 0 if the chain was changed since it was read: nothing was done
-- needs: audit, decisions

local list = KEY.key_decisions()
if not may_decide(list, 3) then return 0 end
if ARGV[1] ~= '' then audit(ARGV[1], ARGV[2], '', '', '', 'restored', #ARGV - 4, '', '') end
redis.call('DEL', list)
decide(list, 3)
return 1
