-- plugin_rate: counts n triggers in a plugin's rate if they may come now. The key holds when the rate will be unused
-- again, and how long that was from when it was written.
--
-- kind: counts
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 microseconds per trigger  3 burst: triggers that may come at once  4 n
--       5 id of this request, which a repeated call has too
-- Returns 0 if they were counted; otherwise the microseconds to wait, and nothing was counted
--
-- An n above the burst is allowed once the rate is unused, and then delays what follows for longer.
-- needs: clock, rates

-- Idempotent: the id of a counted request is remembered for longer than a call may be repeated.
local TAKEN_MS = 60000
local taken = KEY.plugin_rate_taken(ARGV[1], ARGV[5])
if redis.call('EXISTS', taken) == 1 then return 0 end
local key = KEY.plugin_rate(ARGV[1])
local interval, burst, count = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now_us = tonumber(server_time[1]) * 1000000 + tonumber(server_time[2])
local kept, ahead = string.match(redis.call('GET', key) or '0 0', '^(%d+) (%d+)$')
local saved = burst * interval
local used_to = rate_time(kept - saved, now_us, interval, burst, ahead - saved + 1000 * UNNOTICED)
local wait = math.ceil(used_to + math.min(count, burst) * interval - now_us)
if wait > 0 then return wait end
local unused_at = used_to + (burst + count) * interval
ahead = unused_at - now_us
redis.call('SET', key, int(unused_at) .. ' ' .. int(ahead), 'PX', int(math.ceil(ahead / 1000) + 1))
redis.call('SET', taken, '', 'PX', TAKEN_MS)
return 0
