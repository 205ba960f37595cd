-- replay_claim: takes a job, in order to plan it or to make its invocations.
--
-- kind: counts
-- KEYS  1 the root of the partition
-- ARGV  1 replay id  2 token  3 lease_ms
-- Returns {state, plugin, by hand ('1': its originals are given by its maker), rate}; nothing if there is nothing to
--         do, or it has another holder
--
-- Idempotent: the same token gets the job again.
-- needs: clock, held

local id, token = ARGV[1], ARGV[2]
local f = redis.call('HMGET', KEY.replay(id), 'state', 'token', 'leaseEnd', 'plugin', 'filter', 'rate')
if f[1] ~= 'planning' and f[1] ~= 'running' then return false end
if f[2] ~= token and within(number(f[3]), tonumber(ARGV[3])) > now then return false end
redis.call('HSET', KEY.replay(id), 'token', token, 'waits', '')
renew_lease(id, tonumber(ARGV[3]))
return { f[1], f[4], f[5] == '' and '1' or '', f[6] }
