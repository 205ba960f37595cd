-- plugin_rate: may a plugin send n more triggers now? Kept is when a whole burst may come again.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 microseconds a trigger  3 triggers that may come at once  4 n  5 token of this call
-- Returns 0 where they may, else the microseconds to wait; then nothing was taken
--
-- n beyond what may come at once is let through when nothing else was sent, and then holds up what follows.
-- needs: clock, rates

-- Idempotent: a token that has taken is remembered for longer than a call may be repeated, and takes once.
local TAKEN_MS = 60000
local taken = KEY.plugin_rate_taken(ARGV[1], ARGV[5])
if redis.call('EXISTS', taken) == 1 then return 0 end
local key = KEY.plugin_rate(ARGV[1])
local interval, burst, count = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now_us = tonumber(server_time[1]) * 1000000 + tonumber(server_time[2])
local kept = tonumber(redis.call('GET', key) or 0)
local used_to = rate_time(kept - burst * interval, now_us, interval, burst)
local wait = math.ceil(used_to + math.min(count, burst) * interval - now_us)
if wait > 0 then return wait end
local unused_at = used_to + (burst + count) * interval
redis.call('SET', key, int(unused_at), 'PX', int(math.ceil((unused_at - now_us) / 1000) + 1))
redis.call('SET', taken, '', 'PX', TAKEN_MS)
return 0
