-- policy: reads the policies of webhooks, each once in a run.
--
-- A webhook's policy is a hash: concurrency, rateCount, ratePeriod (ms) and retry of its current registration; paused;
-- tat, the rate's theoretical arrival time (GCRA); of its breaker failures, openUntil, openFor, prober (the call that
-- tests whether the endpoint is back) and probe (until when it does); removed: the last revision that was removed.
-- needs: clock, rates

local webhooks = {} -- by plugin/webhook: the policies that this script has read
local last_policy = nil -- the policy that was asked for last

local function read_webhook(plugin, webhook)
  local f = redis.call('HMGET', KEY.policy(plugin, webhook), 'concurrency', 'rateCount', 'ratePeriod', 'paused', 'tat',
    'failures', 'openUntil', 'openFor', 'probe', 'retry', 'prober', 'removed')
  local w = {
    plugin = plugin, webhook = webhook, concurrency = f[1] and tonumber(f[1]), paused = f[4] == '1', tat = number(f[5]),
    failures = number(f[6]), open_until = within(number(f[7]), number(f[8])), open_for = number(f[8]), probe = number(f[9]), retry = f[10] == '1',
    prober = f[11] or '', removed = number(f[12]),
    freed = 0, -- how many calls may go because of this script
    taking = {}, leaving = {}, parking = {}, unparking = {},
  }
  if f[2] and f[2] ~= '' then
    w.every = tonumber(f[3]) / tonumber(f[2]) -- ms between calls
    w.burst = math.max(1, math.floor(1000 / w.every)) -- a second's worth, for workers look once a second
    w.tat = rate_time(w.tat, now, w.every, w.burst, UNNOTICED)
  end
  return w
end

local function webhook_of(plugin, webhook)
  if last_policy and last_policy.webhook == webhook and last_policy.plugin == plugin then return last_policy end
  local name = plugin .. '/' .. webhook
  last_policy = webhooks[name] or read_webhook(plugin, webhook)
  webhooks[name] = last_policy
  return last_policy
end
