-- write_keys: writes records of API keys and deletes others, and adds to the chain what was decided about each.
--
-- KEYS  1 the root of the shared keys
-- ARGV  1 an entry for the audit trail ('' for none)  2 n, then n times:
--       key id, m, then m times: field value (m 0: the key is deleted)
--       then the decisions (lib/decisions.lua)
-- Returns 1, or 'stale' if something was decided since the caller read the chain: nothing was done
--
-- Idempotent except for the audit entry. A record is replaced by one command, so that no key is ever half written.

local decisions = require('decisions')
local KEY = require('keys')

local function main(run)
  local places, at = {}, 3
  for index = 1, tonumber(run.args[2]) do
    places[index] = at
    at = at + 2 + 2 * tonumber(run.args[at + 1])
  end
  if not decisions.may_add(run, KEY.key_decisions(run), at) then return 'stale' end
  if run.args[1] ~= '' then redis.call('RPUSH', KEY.audit_entries(run), run.args[1]) end
  for _, place in ipairs(places) do
    local id, count = run.args[place], tonumber(run.args[place + 1])
    if count == 0 then
      redis.call('SREM', KEY.api_keys(run), id)
      redis.call('DEL', KEY.api_key(run, id))
    else
      redis.call('HSET', KEY.api_key(run, id), unpack(run.args, place + 2, place + 1 + 2 * count))
      redis.call('SADD', KEY.api_keys(run), id)
    end
  end
  decisions.add(run, KEY.key_decisions(run), at)
  return 1
end

return { kind = 'confirms', is_shared = true, run = main }
