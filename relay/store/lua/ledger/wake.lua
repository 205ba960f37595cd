-- wake: makes parked calls of a webhook ready, for a process that has capacity for them.
--
-- kind: counts
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2 plugin  3 webhook  4 how many more of its calls the process could hold  5... lanes that it serves
-- Returns ready: ref, lane, ...
--
-- Calls that were made ready a moment ago are not woken again. A webhook without parked calls is removed from the list.
-- needs: clock, permits, policy, ready
-- values read_ready_at: readyAt

local RECENT = 500 -- ms
grace_from(1)
local w, own = webhook_of(ARGV[2], ARGV[3]), {}
for index = 5, #ARGV do own[ARGV[index]] = true end
local key = KEY.parked(w.plugin, w.webhook)
local count = math.min(capacity(w), tonumber(ARGV[4]))

local function is_under_way(ref)
  local ready_at = tonumber(read_ready_at(ref)) or 0
  return ready_at > now - RECENT and ready_at <= now
end

local idle = {}
for _, ref in ipairs(count >= 1 and redis.call('ZRANGE', key, 0, count - 1) or {}) do
  if not is_under_way(ref) then idle[#idle + 1] = ref end
end
make_all_ready(key, idle, own)
if redis.call('EXISTS', key) == 0 then redis.call('SREM', KEY.parked_webhooks(), w.plugin .. '/' .. w.webhook) end
return ready
