-- rewrite_decisions: replaces what was decided about webhooks, to drop replaced entries, to make MACs with another key,
-- or to write back what a process remembers.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 act for the audit trail ('' for none)  2 its actor, then the chain, all of it as entries to
--       add (include/decisions.lua)
-- Returns 1, or 0 if the chain was changed since it was read: nothing was done
-- needs: audit, decisions

local list = KEY.decisions()
if not may_decide(list, 3) then return 0 end
if ARGV[1] ~= '' then audit(ARGV[1], ARGV[2], '', '', '', 'restored', #ARGV - 4, '', '') end
redis.call('DEL', list)
decide(list, 3)
return 1
