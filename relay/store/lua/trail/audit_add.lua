-- audit_add: adds entries to the audit trail, for acts that no script performs.
--
-- kind: counts
-- KEYS  1 the root of the trail
-- ARGV  the entries, without the time
-- Returns the entries' time, which is now (ms)
-- needs: clock

for _, words in ipairs(ARGV) do redis.call('RPUSH', KEY.audit_entries(), now_text .. ' ' .. words) end
return now_text
