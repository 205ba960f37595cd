-- wake: makes parked calls of a webhook ready, for a process that has capacity for them.
--
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2 plugin  3 webhook  4 how many more of its calls the process could hold  5... lanes that it serves
-- Returns ready: ref, lane, ...
--
-- Calls that were woken a moment ago are not woken again. A webhook without parked calls is removed from the list.

local KEY = require('keys')
local parking = require('parking')
local permits = require('permits')
local policy = require('policy')
local ready = require('ready')

local function main(run)
  ready.read_grace(run, 1)
  local w, own = policy.of(run, run.args[2], run.args[3]), {}
  for index = 5, #run.args do own[run.args[index]] = true end
  local key = KEY.parked(run, w.plugin, w.webhook)
  local count = math.min(permits.capacity(run, w), tonumber(run.args[4]))
  if count >= 1 then ready.make_all(run, key, parking.own_parked(run, w, count, own)) end
  if redis.call('EXISTS', key) == 0 then redis.call('SREM', KEY.parked_webhooks(run), w.plugin .. '/' .. w.webhook) end
  return run.ready
end

return { kind = 'counts', is_fenced = true, run = main }
