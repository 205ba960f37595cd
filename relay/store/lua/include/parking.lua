-- parking: parks calls that their webhook may not send now, and wakes parked ones.
--
-- A parked call is in the webhook's parked set by age and keeps its state; its alarm is only a far backstop.
-- needs: alarms, clock, permits, policy, ready

local PARKED_ALARM = 15 * 60000

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

-- Makes up to `limit` of a webhook's oldest parked calls ready, only those of the lanes in `own`, if that is given.
-- They stay parked until they are claimed or end, so that a lost reply loses nothing.
local function wake(w, limit, own)
  local count = math.min(capacity(w), limit)
  if count >= 1 then
    local key = KEY.parked(w.plugin, w.webhook)
    make_all_ready(key, redis.call('ZRANGE', key, 0, count - 1), own)
  elseif w.every and not w.paused then
    local oldest = redis.call('ZRANGE', KEY.parked(w.plugin, w.webhook), 0, 0)[1]
    local lane = oldest and read_lane(oldest)
    if lane then set_parked_alarm(w, oldest, lane) end
  end
end

-- Notes that the settling worker, which serves this lane, could hold `count` more calls of the webhook.
local function offer_capacity(w, lane, count)
  w.offered, w.worker_capacity = w.offered or {}, count
  w.offered[lane] = true
end

-- Wakes as many calls as the settling worker has capacity for: only of its own lanes, unless the permits that it frees are
-- the webhook's only free ones.
local function wake_for_worker(w)
  local is_full = (w.concurrency or w.every) and capacity(w) <= w.freed
  wake(w, tonumber(w.worker_capacity), not is_full and w.offered or nil)
end

-- Wakes parked calls at the end of every script that changes permits: one per freed permit; with a rate, as many as may
-- go; if the worker stated its capacity, as many as that. After a call of a webhook with a rate was sent, the oldest parked
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
