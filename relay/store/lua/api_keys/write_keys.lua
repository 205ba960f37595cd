-- write_keys: writes records of API keys and deletes others, and adds to the chain what was decided about each.
--
-- kind: confirms
-- KEYS  1 the root of the shared keys
-- ARGV  1 an entry for the audit trail ('' for none)  2 n, then n times:
--       key id, m, then m times: field value (m 0: the key is deleted)
--       then the decisions (include/decisions.lua)
-- Returns 1, or 'stale' if something was decided since the caller read the chain: nothing was done
--
-- Idempotent except for the audit entry. A record is replaced by one command, so that no key is ever half written.
-- needs: decisions

local places, at = {}, 3
for index = 1, tonumber(ARGV[2]) do
  places[index] = at
  at = at + 2 + 2 * tonumber(ARGV[at + 1])
end
if not may_decide(KEY.key_decisions(), at) then return 'stale' end
if ARGV[1] ~= '' then redis.call('RPUSH', KEY.audit_entries(), ARGV[1]) end
for _, place in ipairs(places) do
  local id, count = ARGV[place], tonumber(ARGV[place + 1])
  if count == 0 then
    redis.call('SREM', KEY.api_keys(), id)
    redis.call('DEL', KEY.api_key(id))
  else
    redis.call('HSET', KEY.api_key(id), unpack(ARGV, place + 2, place + 1 + 2 * count))
    redis.call('SADD', KEY.api_keys(), id)
  end
end
decide(KEY.key_decisions(), at)
return 1
