-- parking: parks calls that their webhook may not send now, and wakes parked ones.
--
-- A parked call is in the webhook's parked set by age, and keeps its state; its alarm is only a distant backstop.

local alarms = require('alarms')
local fields = require('fields')
local KEY = require('keys')
local number = require('numbers').number
local permits = require('permits')
local ready = require('ready')

local parking = {}

local read_woken = fields.values('lane', 'readyAt')

parking.ALARM = 15 * 60000
local CLAIMED_IN = 1000 -- ms: after that, a woken call that nobody has claimed keeps no permit from other lanes
local PASSED_OVER = 32 -- how many of the oldest parked calls, and of the youngest, are looked at beyond those that may go

-- Unparks a call that will not be sent. It may have been woken or had the near alarm, so the next one is woken.
function parking.unpark_unsent(run, w, ref)
  redis.call('ZREM', KEY.parked(run, w.plugin, w.webhook), ref)
  permits.wake_one_at_end(w)
end

function parking.unpark(w, ref)
  w.unparking[#w.unparking + 1] = ref
end

-- Sets a parked call's far alarm; that of the oldest parked call of a webhook with a rate is set to when it may go.
function parking.set_parked_alarm(run, w, ref, lane)
  if w.every and not w.paused and permits.allowance(run, w) < 1
    and redis.call('ZRANGE', KEY.parked(run, w.plugin, w.webhook), 0, 0)[1] == ref then
    return alarms.set_running(run, ref, lane, math.max(run.now, w.tat + w.every))
  end
  alarms.set_queued(run, ref, lane, run.now + parking.ALARM)
end

function parking.park(run, w, ref, lane, created)
  permits.list_parked_webhook(run, w)
  redis.call('ZADD', KEY.parked(run, w.plugin, w.webhook), created, ref)
  redis.call('HSET', KEY.record(run, ref), 'parked', '1')
  parking.set_parked_alarm(run, w, ref, lane)
end

-- Parks a queued call, whose alarm is among the queued ids; not for webhooks with a rate.
function parking.park_queued(run, w, ref, lane, created)
  w.parking[#w.parking + 1] = created
  w.parking[#w.parking + 1] = ref
  redis.call('HSET', KEY.record(run, ref), 'parked', '1')
  alarms.set_queued_at_end(run, ref, lane, run.now + parking.ALARM)
end

-- Returns whether a parked call was woken, and neither claimed nor parked again since, so that its alarm is near.
local function is_woken(run, ref, lane, ready_at)
  local alarm = redis.call('ZSCORE', KEY.due_queued(run, lane), ref)
  return alarm and tonumber(alarm) < ready_at + parking.ALARM
end

-- Returns whether a parked call was woken a moment ago, so that a worker is about to claim it.
local function is_under_way(run, ref, lane, ready_at)
  return ready_at > run.now - CLAIMED_IN and ready_at <= run.now and is_woken(run, ref, lane, ready_at)
end

-- Visits the `count` oldest parked calls, then a few more, until `visit` returns true. If a lane's workers are full or
-- gone, they park no calls, so those of other lanes are among the oldest or the youngest, however many are in between.
local function visit_parked(run, w, count, visit)
  local key, seen = KEY.parked(run, w.plugin, w.webhook), {}
  for _, range in ipairs({ { 0, count - 1 }, { count, count + PASSED_OVER - 1 }, { -PASSED_OVER, -1 } }) do
    local refs = redis.call('ZRANGE', key, range[1], range[2])
    for _, ref in ipairs(refs) do
      local lane, ready_at = read_woken(run, ref)
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

-- Returns up to `count` of the parked calls, oldest first. A call that was woken before, of a lane that is not in
-- `own`, is only named again, as a reply may be lost; if nobody has claimed it in time, its whole lane is passed over.
local function oldest_parked(run, w, count, own)
  local chosen, left = {}, {}
  visit_parked(run, w, count, function(ref, lane, ready_at)
    if left[lane] then return end
    if own[lane] or not is_woken(run, ref, lane, ready_at) then
      chosen[#chosen + 1] = ref
    elseif is_under_way(run, ref, lane, ready_at) then
      ready.add(run, ref, lane)
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
local function keeps_permit(run, w, ref, lane, ready_at, is_oldest)
  if not w.concurrency and not w.every then return false end
  return is_under_way(run, ref, lane, ready_at)
    or (w.every and is_oldest and redis.call('ZSCORE', KEY.due_running(run), ref))
end

-- Returns up to `count` of the parked calls of the lanes in `own`, oldest first, even if others are older; without
-- those under way, unless `again`.
function parking.own_parked(run, w, count, own, again)
  local chosen, free, is_oldest = {}, permits.capacity(run, w), true
  visit_parked(run, w, count, function(ref, lane, ready_at)
    if own[lane] then
      if again or not is_under_way(run, ref, lane, ready_at) then chosen[#chosen + 1] = ref end
      free, count = free - 1, count - 1
    elseif keeps_permit(run, w, ref, lane, ready_at, is_oldest) then
      free = free - 1
    end
    is_oldest = false
    return math.min(free, count) < 1
  end)
  return chosen
end

-- Sets the alarm of the oldest parked call of a webhook with a rate, unless a worker will claim it anyway.
local function set_oldest_alarm(run, w)
  local oldest = redis.call('ZRANGE', KEY.parked(run, w.plugin, w.webhook), 0, 0)[1]
  if not oldest then return end
  local lane, ready_at = read_woken(run, oldest)
  if lane and not is_woken(run, oldest, lane, number(ready_at)) then parking.set_parked_alarm(run, w, oldest, lane) end
end

-- Makes up to `limit` of a webhook's parked calls ready; with `only_own`, only those of the lanes in `own`. They stay
-- parked until they are claimed or end, so that nothing is lost with a reply.
function parking.wake(run, w, limit, own, only_own)
  local count = math.min(permits.capacity(run, w), limit)
  if count >= 1 then
    local chosen = only_own and parking.own_parked(run, w, count, own, true) or oldest_parked(run, w, count, own)
    ready.make_all(run, KEY.parked(run, w.plugin, w.webhook), chosen)
  elseif w.every and not w.paused then
    set_oldest_alarm(run, w)
  end
end

-- Notes that the settling worker, which serves this lane, could hold `count` more calls of the webhook.
function parking.offer_capacity(w, lane, count)
  w.offered, w.worker_capacity = w.offered or {}, count
  w.offered[lane] = true
end

-- Wakes as many calls as the settling worker has capacity for, only of its own lanes unless the permits that it frees
-- are the webhook's only free ones.
local function wake_for_worker(run, w)
  local is_full = (w.concurrency or w.every) and permits.capacity(run, w) <= w.freed
  parking.wake(run, w, tonumber(w.worker_capacity), w.offered, not is_full)
end

-- Wakes parked calls at the end of every script that changes permits: one per freed permit; with a rate, as many as may
-- go; if the worker stated its capacity, that many. After a call of a webhook with a rate is sent, the oldest parked
-- call is woken too, or gets an alarm for when the rate allows it.
function parking.wake_all(run)
  for _, w in pairs(run.webhooks) do
    permits.flush(run, w)
    if w.offered then
      wake_for_worker(run, w)
    elseif w.freed > 0 or w.spent then
      parking.wake(run, w, w.every and w.freed > 0 and 1000 or math.max(w.freed, 1), {})
    end
  end
end

return parking
