-- write_keys: writes records of API keys, and deletes others.
--
-- kind: confirms
-- KEYS  1 the root of the shared keys
-- ARGV  1 an entry for the audit trail ('' for none)  2 n, then n times:
--       key id, m, then m times: field value (m 0: the key is deleted)
-- Returns 1
--
-- Idempotent except for the audit entry. A record is replaced by one command, so that no key is ever half written.

if ARGV[1] ~= '' then redis.call('RPUSH', KEY.audit_entries(), ARGV[1]) end
local at = 3
for _ = 1, tonumber(ARGV[2]) do
  local id, count = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2 + 2 * count
  if count == 0 then
    redis.call('SREM', KEY.api_keys(), id)
    redis.call('DEL', KEY.api_key(id))
  else
    redis.call('HSET', KEY.api_key(id), unpack(ARGV, at - 2 * count, at - 1))
    redis.call('SADD', KEY.api_keys(), id)
  end
end
return 1
