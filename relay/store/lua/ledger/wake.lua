-- wake: makes parked calls of a webhook ready, for a process that has capacity for them.
--
-- kind: counts
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2 plugin  3 webhook  4 how many more of its calls the process could hold  5... lanes that it serves
-- Returns ready: ref, lane, ...
--
-- Calls that were woken a moment ago are not woken again. A webhook without parked calls is removed from the list.
-- needs: parking, permits, policy, ready

grace_from(1)
local w, own = webhook_of(ARGV[2], ARGV[3]), {}
for index = 5, #ARGV do own[ARGV[index]] = true end
local key = KEY.parked(w.plugin, w.webhook)
local count = math.min(capacity(w), tonumber(ARGV[4]))
if count >= 1 then make_all_ready(key, own_parked(w, count, own)) end
if redis.call('EXISTS', key) == 0 then redis.call('SREM', KEY.parked_webhooks(), w.plugin .. '/' .. w.webhook) end
return ready
