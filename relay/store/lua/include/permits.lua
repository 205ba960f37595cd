-- permits: counts how many calls a webhook may send now, by its concurrency and its rate.
-- needs: breaker, clock, effects, rates

-- Lists a webhook among those with parked calls, where workers that have room find it.
local function list_parked_webhook(w)
  if w.listed then return end
  redis.call('SADD', KEY.parked_webhooks(), w.plugin .. '/' .. w.webhook)
  w.listed = true
end

-- Writes which calls took or released a permit, were parked or unparked since the last time, with one command for each.
local function permits_flush(w)
  local key = KEY.running(w.plugin, w.webhook)
  if w.parking[1] then list_parked_webhook(w) end
  if w.leaving[1] then in_pieces('ZREM', key, w.leaving, 1) end
  if w.taking[1] then in_pieces('ZADD', key, w.taking, 2) end
  if w.parking[1] then in_pieces('ZADD', KEY.parked(w.plugin, w.webhook), w.parking, 2) end
  if w.unparking[1] then in_pieces('ZREM', KEY.parked(w.plugin, w.webhook), w.unparking, 1) end
  w.taking, w.leaving, w.parking, w.unparking = {}, {}, {}, {}
end

-- Returns how many permits are taken; a permit is free once its lease has ended.
local function permits_taken(w)
  if not w.taken then
    permits_flush(w)
    w.taken = redis.call('ZCOUNT', KEY.running(w.plugin, w.webhook), '(' .. int(now), '+inf')
  end
  return w.taken
end

-- Returns how many calls the rate allows now.
local function allowance(w)
  if not w.every then return math.huge end
  return rate_capacity(w.tat, now, w.every)
end

local function capacity(w)
  if w.paused then return 0 end
  if not w.concurrency and not w.every then return math.huge end
  local permits = w.concurrency and math.max(0, w.concurrency - permits_taken(w)) or math.huge
  return math.min(permits, allowance(w))
end

-- Gives a call a permit until `lease_end`.
local function take_permit(w, ref, lease_end)
  w.taken = w.concurrency and permits_taken(w) + 1
  w.taking[#w.taking + 1] = int(lease_end)
  w.taking[#w.taking + 1] = ref
  if w.every then
    w.spent = true
    w.tat = w.tat + w.every
    redis.call('HSET', KEY.policy(w.plugin, w.webhook), 'tat', string.format('%.3f', w.tat))
  end
  if breaker(w) == 'half-open' then
    w.probe, w.prober = lease_end, ref
    redis.call('HSET', KEY.policy(w.plugin, w.webhook), 'probe', int(lease_end), 'prober', ref)
  end
end

-- Moves the end of a running call's permit and, if it probes for a half-open breaker, of the probe.
local function move_permit(w, ref, lease_end)
  redis.call('ZADD', KEY.running(w.plugin, w.webhook), int(lease_end), ref)
  if w.prober == ref then redis.call('HSET', KEY.policy(w.plugin, w.webhook), 'probe', int(lease_end)) end
end

-- Notes that one more call may go, so that a parked one is woken at the script's end. A repeated script does this
-- again, and so finds the woken call again: the first reply may be lost.
local function wake_one_at_end(w)
  w.freed = w.freed + 1
end

-- Takes a call's permit away. If it was to probe for a half-open breaker and no result came, the next call will.
local function give_up_permit(w, ref)
  if w.probe > 0 and w.prober == ref then
    w.probe, w.prober = 0, ''
    redis.call('HDEL', KEY.policy(w.plugin, w.webhook), 'probe', 'prober')
  end
  w.leaving[#w.leaving + 1] = ref
  w.taken = nil
end

local function release_permit(w, ref)
  give_up_permit(w, ref)
  wake_one_at_end(w)
end
