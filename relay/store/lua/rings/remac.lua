-- remac: replaces the MAC of a webhook's current revision, if that revision is still the current one.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 the revision that the MAC is for  4 MAC
-- Returns 1 if it was written; 0 if the webhook has another revision by now, or none

if redis.call('HGET', KEY.webhooks(ARGV[1]), ARGV[2]) ~= ARGV[3] then return 0 end
redis.call('HSET', KEY.pointer_macs(ARGV[1]), ARGV[2], ARGV[4])
return 1
