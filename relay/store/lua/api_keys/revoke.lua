-- revoke: adds an entry to the list of revoked API keys, or replaces its entries.
--
-- kind: confirms
-- KEYS  1 the root of the shared keys
-- ARGV  1 how many entries there were when they were read  2 the last of them ('' for none)
--       3 an entry for the audit trail ('' to replace entries)  4... the entry to add, or the list's entries
-- Returns 1, or 0 if the list was changed since it was read: nothing was done
--
-- A repeated call finds another list. No entry is removed: a key that was revoked stays so whatever happens.

local list = KEY.revocations()
if redis.call('LLEN', list) ~= tonumber(ARGV[1]) or (redis.call('LINDEX', list, -1) or '') ~= ARGV[2] then return 0 end
if ARGV[3] ~= '' then redis.call('RPUSH', KEY.audit_entries(), ARGV[3]) end
for index = 4, #ARGV do
  if ARGV[3] ~= '' then redis.call('RPUSH', list, ARGV[index]) else redis.call('LSET', list, index - 4, ARGV[index]) end
end
return 1
