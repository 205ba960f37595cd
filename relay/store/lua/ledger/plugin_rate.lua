-- plugin_rate: counts n triggers in a plugin's rate if they may come now. The key holds when the rate will be unused
-- again, and how far ahead that was when it was written.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 microseconds per trigger  3 burst: triggers that may come at once  4 n
--       5 id of this request, which a repeated call has too
-- Returns 0 if they were counted; otherwise the microseconds to wait, and nothing was counted
--
-- An n above the burst is allowed once the rate is unused, and then delays what follows accordingly.

local constants = require('constants')
local KEY = require('keys')
local int = require('numbers').int
local rates = require('rates')

-- Idempotent: the id of a counted request is remembered for longer than a call may be repeated.
local TAKEN_MS = 60000

local function main(run)
  local taken = KEY.plugin_rate_taken(run, run.args[1], run.args[5])
  if redis.call('EXISTS', taken) == 1 then return 0 end
  local key = KEY.plugin_rate(run, run.args[1])
  local interval, burst, count = tonumber(run.args[2]), tonumber(run.args[3]), tonumber(run.args[4])
  local now_us = tonumber(run.time[1]) * 1000000 + tonumber(run.time[2])
  local kept, ahead = string.match(redis.call('GET', key) or '0 0', '^(%d+) (%d+)$')
  local saved = burst * interval
  local used_to = rates.time(kept - saved, now_us, interval, burst, ahead - saved + 1000 * constants.UNNOTICED)
  local wait = math.ceil(used_to + math.min(count, burst) * interval - now_us)
  if wait > 0 then return wait end
  local unused_at = used_to + (burst + count) * interval
  ahead = unused_at - now_us
  local kept_ms = math.ceil(ahead / 1000) + 1
  redis.call('SET', key, int(unused_at) .. ' ' .. int(ahead), 'PX', int(kept_ms))
  redis.call('SET', taken, '', 'PX', TAKEN_MS)
  return 0
end

return { kind = 'counts', run = main }
