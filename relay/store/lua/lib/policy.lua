-- policy: reads the policies of webhooks, each once in a run.
--
-- A webhook's policy is a hash: concurrency, rateCount, ratePeriod (ms) and retry of its current registration; paused;
-- tat, the rate's theoretical arrival time (GCRA); for its breaker failures, openUntil, openFor, prober (the call that
-- tests whether the endpoint is back) and probe (until when it does); removed: the last revision that was removed.

local constants = require('constants')
local KEY = require('keys')
local number = require('numbers').number
local rates = require('rates')
local runs = require('runs')

local policy = {}

local function read_webhook(run, plugin, webhook)
  local f = redis.call('HMGET', KEY.policy(run, plugin, webhook), 'concurrency', 'rateCount', 'ratePeriod', 'paused', 'tat',
    'failures', 'openUntil', 'openFor', 'probe', 'retry', 'prober', 'removed')
  local w = {
    plugin = plugin, webhook = webhook, concurrency = f[1] and tonumber(f[1]), paused = f[4] == '1', tat = number(f[5]),
    failures = number(f[6]), open_until = runs.within(run, number(f[7]), number(f[8])), open_for = number(f[8]),
    probe = number(f[9]), retry = f[10] == '1',
    prober = f[11] or '', removed = number(f[12]),
    freed = 0, -- how many calls may go because of this script
    taking = {}, leaving = {}, parking = {}, unparking = {},
  }
  if f[2] and f[2] ~= '' then
    w.every = tonumber(f[3]) / tonumber(f[2]) -- ms between calls
    w.burst = math.max(1, math.floor(1000 / w.every)) -- a second's worth, as workers look once a second
    w.tat = rates.time(w.tat, run.now, w.every, w.burst, constants.UNNOTICED)
  end
  return w
end

function policy.of(run, plugin, webhook)
  local last = run.last_policy
  if last and last.webhook == webhook and last.plugin == plugin then return last end
  local name = plugin .. '/' .. webhook
  last = run.webhooks[name] or read_webhook(run, plugin, webhook)
  run.webhooks[name], run.last_policy = last, last
  return last
end

return policy
