-- breaker: decides from a webhook's policy whether its breaker is closed, open or half-open, and records contacts.

local KEY = require('keys')
local int = require('numbers').int

local breaker = {}

local BREAKER_FAILURES = 20 -- this many attempts in a row without contact open the breaker
local BREAKER_FIRST = 30000
local BREAKER_LONGEST = 300000

function breaker.state(run, w)
  if w.open_until == 0 then return 'closed' end
  if w.open_until > run.now or w.probe > run.now then return 'open' end
  return 'half-open'
end

-- Returns until when an open breaker holds calls back: for only a few seconds while a call probes the endpoint.
function breaker.held_until(run, w)
  if w.open_until > run.now then return w.open_until end
  return math.min(w.probe, run.now + 5000)
end

-- Records whether the endpoint could be contacted; called once for each attempt that tried to.
function breaker.record_contact(run, w, contacted)
  if contacted and w.failures == 0 and w.open_until == 0 then return end
  local key = KEY.policy(run, w.plugin, w.webhook)
  if contacted then
    w.failures, w.open_until, w.open_for, w.probe, w.prober = 0, 0, 0, 0, ''
    redis.call('HDEL', key, 'failures', 'openUntil', 'openFor', 'probe', 'prober')
    return
  end
  local probing = breaker.state(run, w) ~= 'closed' and w.open_until <= run.now
  w.failures = w.failures + 1
  redis.call('HSET', key, 'failures', int(w.failures))
  if probing or (w.open_until == 0 and w.failures >= BREAKER_FAILURES) then
    w.open_for = w.open_for == 0 and BREAKER_FIRST or math.min(w.open_for * 2, BREAKER_LONGEST)
    w.open_until, w.probe, w.prober = run.now + w.open_for, 0, ''
    redis.call('HSET', key, 'openUntil', int(w.open_until), 'openFor', int(w.open_for), 'probe', '0', 'prober', '')
  end
end

return breaker
