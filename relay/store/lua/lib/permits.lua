-- permits: counts how many calls a webhook may send now, by its concurrency and its rate.

local breaker = require('breaker')
local effects = require('effects')
local KEY = require('keys')
local int = require('numbers').int
local rates = require('rates')

local permits = {}

-- Lists a webhook among those with parked calls, where workers that have capacity find it.
function permits.list_parked_webhook(run, w)
  if w.listed then return end
  redis.call('SADD', KEY.parked_webhooks(run), w.plugin .. '/' .. w.webhook)
  w.listed = true
end

-- Writes, with one command for each, which calls took or released permits, or were parked or unparked, since last time.
function permits.flush(run, w)
  local key = KEY.running(run, w.plugin, w.webhook)
  if w.parking[1] then permits.list_parked_webhook(run, w) end
  if w.leaving[1] then effects.in_pieces('ZREM', key, w.leaving, 1) end
  if w.taking[1] then effects.in_pieces('ZADD', key, w.taking, 2) end
  if w.parking[1] then effects.in_pieces('ZADD', KEY.parked(run, w.plugin, w.webhook), w.parking, 2) end
  if w.unparking[1] then effects.in_pieces('ZREM', KEY.parked(run, w.plugin, w.webhook), w.unparking, 1) end
  w.taking, w.leaving, w.parking, w.unparking = {}, {}, {}, {}
end

-- Returns how many permits are taken; a permit is free once its lease has ended.
function permits.taken(run, w)
  if not w.taken then
    permits.flush(run, w)
    w.taken = redis.call('ZCOUNT', KEY.running(run, w.plugin, w.webhook), '(' .. run.now_text, '+inf')
  end
  return w.taken
end

-- Returns how many calls the rate allows now.
function permits.allowance(run, w)
  if not w.every then return math.huge end
  return rates.capacity(w.tat, run.now, w.every)
end

function permits.capacity(run, w)
  if w.paused then return 0 end
  if not w.concurrency and not w.every then return math.huge end
  local free = w.concurrency and math.max(0, w.concurrency - permits.taken(run, w)) or math.huge
  return math.min(free, permits.allowance(run, w))
end

-- Gives a call a permit until `lease_end`.
function permits.take(run, w, ref, lease_end)
  w.taken = w.concurrency and permits.taken(run, w) + 1
  w.taking[#w.taking + 1] = int(lease_end)
  w.taking[#w.taking + 1] = ref
  if w.every then
    w.spent = true
    w.tat = w.tat + w.every
    redis.call('HSET', KEY.policy(run, w.plugin, w.webhook), 'tat', string.format('%.3f', w.tat))
  end
  if breaker.state(run, w) == 'half-open' then
    w.probe, w.prober = lease_end, ref
    redis.call('HSET', KEY.policy(run, w.plugin, w.webhook), 'probe', int(lease_end), 'prober', ref)
  end
end

-- Moves the end of a running call's permit and, if it probes for a half-open breaker, that of the probe.
function permits.move(run, w, ref, lease_end)
  redis.call('ZADD', KEY.running(run, w.plugin, w.webhook), int(lease_end), ref)
  if w.prober == ref then redis.call('HSET', KEY.policy(run, w.plugin, w.webhook), 'probe', int(lease_end)) end
end

-- Notes that one more call may go, so that a parked one is woken at the script's end. A repeated script does this
-- again, and so finds the woken call again, as the first reply may have been lost.
function permits.wake_one_at_end(w)
  w.freed = w.freed + 1
end

-- Takes a call's permit away. If it was to probe for a half-open breaker and got no result, the next call will probe.
function permits.give_up(run, w, ref)
  if w.probe > 0 and w.prober == ref then
    w.probe, w.prober = 0, ''
    redis.call('HDEL', KEY.policy(run, w.plugin, w.webhook), 'probe', 'prober')
  end
  w.leaving[#w.leaving + 1] = ref
  w.taken = nil
end

function permits.release(run, w, ref)
  permits.give_up(run, w, ref)
  permits.wake_one_at_end(w)
end

return permits
