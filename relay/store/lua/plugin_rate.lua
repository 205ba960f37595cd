-- plugin_rate: may a plugin send n more triggers now? A leaky bucket as one time (GCRA): each trigger moves it on.
--
-- KEYS  none (names come from KEY)
-- ARGV  1 plugin  2 microseconds a trigger  3 triggers that may come at once  4 n
-- Returns 0 where they may, else the microseconds to wait; then nothing was taken
--
-- n beyond what may come at once is let through when nothing else was sent, and then holds up what follows.
-- include: clock

local key = KEY.plugin_rate(ARGV[1])
local interval, burst, count = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now_us = tonumber(server_time[1]) * 1000000 + tonumber(server_time[2])
local unused_at = math.max(tonumber(redis.call('GET', key) or 0), now_us)
local wait = math.ceil(unused_at + math.min(count, burst) * interval - burst * interval - now_us)
if wait > 0 then return wait end
unused_at = unused_at + count * interval
redis.call('SET', key, int(unused_at), 'PX', int(math.ceil((unused_at - now_us) / 1000) + 1))
return 0
