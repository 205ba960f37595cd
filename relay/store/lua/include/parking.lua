-- parking: parks calls that their webhook may not send now, and wakes parked ones.
--
-- A parked call is in the webhook's parked set by age and keeps its state; its alarm is only a far backstop.
-- needs: alarms, clock, permits, policy, ready
-- values read_woken: lane readyAt

local PARKED_ALARM = 15 * 60000
local CLAIMED_IN = 1000 -- ms: after that, a woken call that nobody has claimed keeps no permit from other lanes
local PASSED_OVER = 32 -- how many of the oldest parked calls, and of the youngest, are looked at beyond those that may go

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

-- Returns whether a parked call was woken, and neither claimed nor parked again since: its alarm is near.
local function is_woken(ref, lane, ready_at)
  local alarm = redis.call('ZSCORE', KEY.due_queued(lane), ref)
  return alarm and tonumber(alarm) < ready_at + PARKED_ALARM
end

-- Returns whether a parked call was woken a moment ago, so that a worker is about to claim it.
local function is_under_way(ref, lane, ready_at)
  return ready_at > now - CLAIMED_IN and ready_at <= now and is_woken(ref, lane, ready_at)
end

-- Visits the `count` oldest parked calls, then a few more, until `visit` returns true. Where a lane's workers are full or
-- gone, they park no calls: those of other lanes are among the oldest or the youngest, however many are between them.
local function visit_parked(w, count, visit)
  local key, seen = KEY.parked(w.plugin, w.webhook), {}
  for _, range in ipairs({ { 0, count - 1 }, { count, count + PASSED_OVER - 1 }, { -PASSED_OVER, -1 } }) do
    local refs = redis.call('ZRANGE', key, range[1], range[2])
    for _, ref in ipairs(refs) do
      local lane, ready_at = read_woken(ref)
      if not lane then
        redis.call('ZREM', key, ref) -- its record is gone
      elseif not seen[ref] and visit(ref, lane, number(ready_at)) then
        return
      end
      seen[ref] = true
    end
    if #refs <= range[2] - range[1] then return end -- that was all
  end
end

-- Returns up to `count` of the parked calls, the oldest first. A call of a lane that is not in `own`, and was woken before,
-- is only named again, as a reply may be lost; if nobody has claimed it in time, its whole lane is passed over.
local function oldest_parked(w, count, own)
  local chosen, left = {}, {}
  visit_parked(w, count, function(ref, lane, ready_at)
    if left[lane] then return end
    if own[lane] or not is_woken(ref, lane, ready_at) then
      chosen[#chosen + 1] = ref
    elseif is_under_way(ref, lane, ready_at) then
      add_ready(ref, lane)
      count = count - 1
    else
      left[lane] = true
    end
    return #chosen >= count
  end)
  return chosen
end

-- Returns whether an older call of another lane keeps a permit: a worker is about to claim it, or, as the oldest of a
-- webhook with a rate, it is about to be woken.
local function keeps_permit(w, ref, lane, ready_at, is_oldest)
  if not w.concurrency and not w.every then return false end
  return is_under_way(ref, lane, ready_at) or (w.every and is_oldest and redis.call('ZSCORE', KEY.due_running(), ref))
end

-- Returns up to `count` of the parked calls of the lanes in `own`, the oldest first, whatever else is older; without
-- those under way, unless `again`.
local function own_parked(w, count, own, again)
  local chosen, free, is_oldest = {}, capacity(w), true
  visit_parked(w, count, function(ref, lane, ready_at)
    if own[lane] then
      if again or not is_under_way(ref, lane, ready_at) then chosen[#chosen + 1] = ref end
      free, count = free - 1, count - 1
    elseif keeps_permit(w, ref, lane, ready_at, is_oldest) then
      free = free - 1
    end
    is_oldest = false
    return math.min(free, count) < 1
  end)
  return chosen
end

-- Sets the alarm of the oldest parked call of a webhook with a rate, unless a worker is to claim it anyway.
local function set_oldest_alarm(w)
  local oldest = redis.call('ZRANGE', KEY.parked(w.plugin, w.webhook), 0, 0)[1]
  if not oldest then return end
  local lane, ready_at = read_woken(oldest)
  if lane and not is_woken(oldest, lane, number(ready_at)) then set_parked_alarm(w, oldest, lane) end
end

-- Makes up to `limit` of a webhook's parked calls ready: with `only_own`, those of the lanes in `own`. They stay parked
-- until they are claimed or end, so that a lost reply loses nothing.
local function wake(w, limit, own, only_own)
  local count = math.min(capacity(w), limit)
  if count >= 1 then
    local chosen = only_own and own_parked(w, count, own, true) or oldest_parked(w, count, own)
    make_all_ready(KEY.parked(w.plugin, w.webhook), chosen)
  elseif w.every and not w.paused then
    set_oldest_alarm(w)
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
  wake(w, tonumber(w.worker_capacity), w.offered, not is_full)
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
      wake(w, w.every and w.freed > 0 and 1000 or math.max(w.freed, 1), {})
    end
  end
end
