-- permits: decides whether a webhook may send now, parks calls, and wakes parked ones.
--
-- A webhook's policy is a hash: concurrency, rateCount, ratePeriod (ms) and retry of its current registration; paused;
-- tat, the rate's theoretical arrival time (GCRA); of its breaker failures, openUntil, openFor, prober (the call that
-- tests whether the endpoint is back) and probe (until when it does); removed: the last revision that was removed.
-- A parked call is in the webhook's parked set by age and keeps its state; its alarm is only a far backstop.
-- needs: alarms, clock, effects, rates
-- values read_lane: lane

local PARKED_ALARM = 15 * 60000
local BREAKER_FAILURES = 20 -- this many attempts in a row without contact open the breaker
local BREAKER_FIRST = 30000
local BREAKER_LONGEST = 300000

local grace = 0 -- ms: how long a message may be under way before a sweep checks

local function grace_from(index)
  grace = tonumber(ARGV[index])
end

local lease_margin = 0 -- ms: by how much leases are longer than their calls' timeouts

local function lease_margin_from(index)
  lease_margin = tonumber(ARGV[index])
end

-- Returns how long a call's lease is; a chain's parent sends nothing itself.
local function lease_of(r)
  return (r.chain == '1' and 0 or tonumber(r.timeout)) + lease_margin
end

local webhooks = {} -- by plugin/webhook: the policies that this script has read
local last_policy = nil -- the policy that was asked for last
local ready = {} -- ref, lane, ref, lane, ...: calls that may be run now

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

-- Lists a webhook among those with parked calls, where workers that have room find it.
local function list_parked_webhook(w)
  if w.listed then return end
  redis.call('SADD', KEY.parked_webhooks(), w.plugin .. '/' .. w.webhook)
  w.listed = true
end

-- Writes which calls took or left a place, were parked or unparked since the last time, with one command for each.
local function permits_flush(w)
  local key = KEY.running(w.plugin, w.webhook)
  if w.parking[1] then list_parked_webhook(w) end
  if w.leaving[1] then in_pieces('ZREM', key, w.leaving, 1) end
  if w.taking[1] then in_pieces('ZADD', key, w.taking, 2) end
  if w.parking[1] then in_pieces('ZADD', KEY.parked(w.plugin, w.webhook), w.parking, 2) end
  if w.unparking[1] then in_pieces('ZREM', KEY.parked(w.plugin, w.webhook), w.unparking, 1) end
  w.taking, w.leaving, w.parking, w.unparking = {}, {}, {}, {}
end

-- Returns how many places are taken; a place is free once its lease has ended.
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
  local places = w.concurrency and math.max(0, w.concurrency - permits_taken(w)) or math.huge
  return math.min(places, allowance(w))
end

local function breaker(w)
  if w.open_until == 0 then return 'closed' end
  if w.open_until > now or w.probe > now then return 'open' end
  return 'half-open'
end

-- Returns until when an open breaker holds calls back; while a call probes the endpoint, only for a few seconds.
local function held_until(w)
  if w.open_until > now then return w.open_until end
  return math.min(w.probe, now + 5000)
end

-- Gives a call a place until `lease_end`.
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

-- Moves the end of a running call's place and, if it probes for a half-open breaker, of the probe.
local function move_permit(w, ref, lease_end)
  redis.call('ZADD', KEY.running(w.plugin, w.webhook), int(lease_end), ref)
  if w.prober == ref then redis.call('HSET', KEY.policy(w.plugin, w.webhook), 'probe', int(lease_end)) end
end

-- Notes that one more call may go, so that a parked one is woken at the script's end. A repeated script does this
-- again, and so finds the woken call again: the first reply may be lost.
local function wake_one_at_end(w)
  w.freed = w.freed + 1
end

-- Takes a call's place away. If it was to probe for a half-open breaker and no result came, the next call will.
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

-- Unparks a call that will not be sent. It may have been woken, or have had the near alarm, so the next one is woken.
local function unpark_unsent(w, ref)
  redis.call('ZREM', KEY.parked(w.plugin, w.webhook), ref)
  wake_one_at_end(w)
end

local function unpark(w, ref)
  w.unparking[#w.unparking + 1] = ref
end

-- Sets a parked call's far alarm; the oldest parked call of a webhook with a rate gets one at the time when it may go.
local function set_parked_alarm(w, ref, lane)
  permits_flush(w)
  if w.every and not w.paused and allowance(w) < 1
    and redis.call('ZRANGE', KEY.parked(w.plugin, w.webhook), 0, 0)[1] == ref then
    return alarm_running(ref, lane, math.max(now, w.tat + w.every))
  end
  alarm_queued(ref, lane, now + PARKED_ALARM)
end

local function park(w, ref, lane, created)
  list_parked_webhook(w)
  redis.call('ZADD', KEY.parked(w.plugin, w.webhook), created, ref)
  redis.call('HSET', KEY.record(ref), 'parked', '1')
  set_parked_alarm(w, ref, lane)
end

-- Parks a queued call, whose alarm is among the queued ids; not for webhooks with a rate.
local function park_queued(w, ref, lane, created)
  w.parking[#w.parking + 1] = created
  w.parking[#w.parking + 1] = ref
  redis.call('HSET', KEY.record(ref), 'parked', '1')
  alarm_queued_at_end(ref, lane, now + PARKED_ALARM)
end

local function add_ready(ref, lane)
  ready[#ready + 1] = ref
  ready[#ready + 1] = lane
end

local function note_ready(ref, lane)
  redis.call('HSET', KEY.record(ref), 'readyAt', now_text)
  add_ready(ref, lane)
end

-- Makes an id ready to run, without a message; its alarm rings after the grace in case nothing runs it.
local function make_ready(ref, lane)
  note_ready(ref, lane)
  alarm_queued(ref, lane, now + grace)
end

-- Makes several ids ready; only those of the lanes in `own`, if that is given.
local function make_all_ready(refs, own)
  local alarms, woken = {}, {}
  for _, ref in ipairs(refs) do
    local lane = read_lane(ref)
    if not own or own[lane] then
      note_ready(ref, lane)
      local of_lane = alarms[lane] or {}
      of_lane[#of_lane + 1] = int(now + grace)
      of_lane[#of_lane + 1] = ref
      alarms[lane] = of_lane
      woken[#woken + 1] = ref
    end
  end
  for lane, of_lane in pairs(alarms) do in_pieces('ZADD', KEY.due_queued(lane), of_lane, 2) end
  in_pieces('ZREM', KEY.due_running(), woken, 1)
end

-- Makes up to `limit` of a webhook's oldest parked calls ready, only those of the lanes in `own`, if that is given.
-- They stay parked until they are claimed or end, so that a lost reply loses nothing.
local function wake(w, limit, own)
  local count = math.min(capacity(w), limit)
  if count >= 1 then
    make_all_ready(redis.call('ZRANGE', KEY.parked(w.plugin, w.webhook), 0, count - 1), own)
  elseif w.every and not w.paused then
    local oldest = redis.call('ZRANGE', KEY.parked(w.plugin, w.webhook), 0, 0)[1]
    if oldest then set_parked_alarm(w, oldest, read_lane(oldest)) end
  end
end

-- Notes that the settling worker, which serves this lane, could hold `count` more calls of the webhook.
local function offer_capacity(w, lane, count)
  w.offered, w.worker_capacity = w.offered or {}, count
  w.offered[lane] = true
end

-- Wakes as many calls as the settling worker has room for: only of its own lanes, unless the places that it frees are
-- the webhook's only free ones.
local function wake_for_worker(w)
  local is_full = (w.concurrency or w.every) and capacity(w) <= w.freed
  wake(w, tonumber(w.worker_capacity), not is_full and w.offered or nil)
end

-- Wakes parked calls at the end of every script that changes places: one per freed place; with a rate, as many as may
-- go; if the worker told its room, as many as that. After a call of a webhook with a rate was sent, the oldest parked
-- call is woken too, or gets an alarm at the time that the rate allows.
local function wake_all()
  for _, w in pairs(webhooks) do
    permits_flush(w)
    if w.offered then
      wake_for_worker(w)
    elseif w.freed > 0 or w.spent then
      wake(w, w.every and w.freed > 0 and 1000 or math.max(w.freed, 1))
    end
  end
end

-- Tells the breaker whether the endpoint could be contacted; called once for each attempt that tried.
local function record_contact(w, contacted)
  if contacted and w.failures == 0 and w.open_until == 0 then return end
  local key = KEY.policy(w.plugin, w.webhook)
  if contacted then
    w.failures, w.open_until, w.open_for, w.probe, w.prober = 0, 0, 0, 0, ''
    redis.call('HDEL', key, 'failures', 'openUntil', 'openFor', 'probe', 'prober')
    return
  end
  local probing = breaker(w) ~= 'closed' and w.open_until <= now
  w.failures = w.failures + 1
  redis.call('HSET', key, 'failures', int(w.failures))
  if probing or (w.open_until == 0 and w.failures >= BREAKER_FAILURES) then
    w.open_for = w.open_for == 0 and BREAKER_FIRST or math.min(w.open_for * 2, BREAKER_LONGEST)
    w.open_until, w.probe, w.prober = now + w.open_for, 0, ''
    redis.call('HSET', key, 'openUntil', int(w.open_until), 'openFor', int(w.open_for), 'probe', '0', 'prober', '')
  end
end
