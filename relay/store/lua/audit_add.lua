-- audit_add: adds entries to the audit trail, of acts that no script does.
--
-- KEYS  1 the root of the trail
-- ARGV  the entries without their time, which is now
-- Returns the time, ms
-- needs: clock

for index, words in ipairs(ARGV) do redis.call('RPUSH', KEY.audit_entries(), now_text .. ' ' .. words) end
return now_text
