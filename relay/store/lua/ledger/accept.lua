-- accept: writes the records of a group of triggers. Runs without allow-oom: a full server refuses new work.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2 max_pending  3 max_pending_per_plugin  4 max_pending_bytes  5 refusals per minute and plugin
--       6-9 retention ms: ok, failed, rejected, contents (0: as records)  10 idempotency_ms
--       11 max_pending_bytes_per_plugin  12 actor ('': each trigger's caller)  13 n, then n times:
--       ref plugin webhook revision lane timeout_ms repeatable payload requestBytes caller traceparent waiter
--       chain pins age_ms delay_ms callback subject refusal k, then k times: mac fingerprint
--       (chain '1' for a chain, whose pins are the revisions of its steps' webhooks as JSON; callback: the webhook to
--       trigger at its end, '' for none; subject: keyed hash of whom it concerns, '' for none)
--       then m times: lane, message ('' if the broker is not this database): the lanes whose lists the calls join
-- Returns {{n times: verdict, ref, state}, {lane, how many messages the caller has to publish, ...}}; verdict: accepted
--         known key_reused stale over_capacity unrecorded
--
-- Idempotent: a known reference id changes nothing and is answered as the first time, unless the first time failed
-- half-way: then it is written anew.
-- needs: alarms, audit, clock, effects, finish, ready, record, revisions, waiting

grace_from(1)
local max_pending, max_per_plugin = tonumber(ARGV[2]), tonumber(ARGV[3])
local max_bytes, max_refusals = tonumber(ARGV[4]), tonumber(ARGV[5])
local max_bytes_per_plugin = tonumber(ARGV[11])
retention_from(6)

local pending = redis.call('HMGET', KEY.pending(), 'count', 'bytes', 'fence')
local all = { count = number(pending[1]), bytes = number(pending[2]) } -- pending, including what this group adds
local of_plugins = {} -- plugin -> {count, bytes}: the same for one plugin

local function pending_of(plugin)
  local of_plugin = of_plugins[plugin]
  if not of_plugin then
    of_plugin = {
      count = number(redis.call('GET', KEY.plugin_pending(plugin))),
      bytes = number(redis.call('HGET', KEY.plugin_bytes(plugin), 'pending')),
    }
    of_plugins[plugin] = of_plugin
  end
  return of_plugin
end

-- Returns whether the limits leave no capacity for another call of this size; if they do, counts it. A fenced partition
-- has no limits: each callback that it accepts is of a call that was accepted before, and nothing ends meanwhile.
local function over_capacity(plugin, bytes)
  local own = pending_of(plugin)
  if not pending[3] and (all.count >= max_pending or all.bytes + bytes > max_bytes or own.count >= max_per_plugin
    or own.bytes + bytes > max_bytes_per_plugin) then
    return true
  end
  all.count, all.bytes = all.count + 1, all.bytes + bytes
  own.count, own.bytes = own.count + 1, own.bytes + bytes
  return false
end

local function who(new)
  return ARGV[12] == '' and new.caller or ARGV[12]
end

local refused_before = {} -- plugin -> whether this group was already refused, and the reply was lost

-- Counts a refusal for lack of capacity, once. Such triggers leave no record: a repeated call is recognised by the id of
-- the group's first refused trigger.
local function count_over_capacity(new)
  local refused = KEY.recent_over_capacity(new.plugin)
  if refused_before[new.plugin] == nil then
    refused_before[new.plugin] = redis.call('LPOS', refused, new.ref) and true or false
    if not refused_before[new.plugin] then
      redis.call('LPUSH', refused, new.ref)
      redis.call('LTRIM', refused, 0, 63)
      redis.call('EXPIRE', refused, 600)
    end
  end
  if not refused_before[new.plugin] then
    sum_count(sums_of(new.plugin), 'over_capacity', 1)
    audit_trigger(who(new), new, 'over_capacity', new.ref)
  end
end

-- Returns what an Idempotency-Key was used for: verdict and reference id; nothing if it was not used.
local function used_before(new)
  for index = 1, new.macs and #new.macs or 0, 2 do
    local used = redis.call('HMGET', KEY.idempotency(new.plugin, new.webhook, new.macs[index]), 'ref', 'fingerprint')
    if used[1] and used[1] ~= new.ref then -- its own if a run that failed half-way has written it
      if used[2] == new.macs[index + 1] then return 'known', used[1] end
      return 'key_reused', used[1]
    end
  end
end

local function refuse(new)
  audit_trigger(who(new), new, new.refusal, new.ref)
  local minute = KEY.refusals(new.plugin, int(math.floor(now / 60000)))
  local written = redis.call('INCR', minute)
  if written == 1 then redis.call('EXPIRE', minute, 120) end
  if written > max_refusals then
    sum_count(sums_of(new.plugin), 'unrecorded', 1)
    return 'unrecorded', new.ref, 'rejected'
  end
  new.requestBytes, new.age, new.delay = '0', nil, nil
  write_record(new, 'rejected')
  finish({ ref = new.ref, plugin = new.plugin, webhook = new.webhook, requestBytes = '0', waiters = '', parent = '',
    createdAt = int(now), callback = new.callback, unregistered = new.revision == '0' },
    { state = 'rejected', outcome = new.refusal, status = '', error = '', result = '', token = '' })
  return 'accepted', new.ref, 'rejected'
end

local is_new = {} -- ref -> true: its record was written by this run
local created = {} -- lane -> the calls that this run has created, and that may be sent now

-- Returns whether a run that failed half-way has left nothing of a trigger but its record: alarms are written later.
local function is_half_written(new, state)
  return state == 'queued' and not is_new[new.ref] and not redis.call('ZSCORE', KEY.due_queued(new.lane), new.ref)
    and not redis.call('ZSCORE', KEY.due_running(), new.ref)
end

local function accept(new)
  local state = read_state(new.ref)
  if state and not is_half_written(new, state) then return 'accepted', new.ref, state end
  local verdict, ref = used_before(new)
  if new.refusal and verdict ~= 'known' then return refuse(new) end
  if verdict == 'known' then audit_trigger(who(new), new, verdict, ref) end
  if verdict then return verdict, ref, read_state(ref) or 'expired' end
  if current_revision(new.plugin, new.webhook) ~= new.revision then return 'stale', new.ref, '' end
  if over_capacity(new.plugin, tonumber(new.requestBytes)) then
    count_over_capacity(new)
    return 'over_capacity', new.ref, ''
  end
  if new.macs then
    local key = KEY.idempotency(new.plugin, new.webhook, new.macs[1])
    redis.call('HSET', key, 'ref', new.ref, 'fingerprint', new.macs[2])
    redis.call('PEXPIRE', key, ARGV[10])
  end
  write_record(new, 'queued')
  is_new[new.ref] = true
  if new.delay then
    alarm_running_at_end(new.ref, now + new.delay)
  else
    alarm_queued_at_end(new.ref, new.lane, now + grace)
    local of_lane = created[new.lane] or {}
    of_lane[#of_lane + 1] = new.ref
    created[new.lane] = of_lane
  end
  audit_trigger(who(new), new, 'accepted', new.ref)
  return 'accepted', new.ref, 'queued'
end

local function read_new(at)
  local new = {
    ref = ARGV[at], plugin = ARGV[at + 1], webhook = ARGV[at + 2], revision = ARGV[at + 3], lane = ARGV[at + 4],
    timeout = ARGV[at + 5], repeatable = ARGV[at + 6], payload = ARGV[at + 7], requestBytes = ARGV[at + 8],
    caller = ARGV[at + 9], traceparent = ARGV[at + 10], waiter = ARGV[at + 11], chain = ARGV[at + 12], pins = ARGV[at + 13],
    age = tonumber(ARGV[at + 14]), callback = ARGV[at + 16], subject = ARGV[at + 17],
  }
  if ARGV[at + 15] ~= '0' then new.delay = tonumber(ARGV[at + 15]) end
  if ARGV[at + 18] ~= '' then new.refusal = ARGV[at + 18] end
  local next_at = at + 20 + 2 * tonumber(ARGV[at + 19])
  if ARGV[at + 19] ~= '0' then new.macs = { unpack(ARGV, at + 20, next_at - 1) } end -- and fingerprints
  return new, next_at
end

-- Lets the new calls wait for a worker, in those lanes that are named from `at` on.
local function queue(at)
  local messages = {}
  for index = at, #ARGV, 2 do
    local lane = ARGV[index]
    if created[lane] then
      messages[#messages + 1] = lane
      messages[#messages + 1] = add_waiting(lane, created[lane], ARGV[index + 1])
    end
  end
  return messages
end

-- While the partition is fenced, only the command that ends the restore accepts: callbacks of ends that were untold at
-- the backup.
if pending[3] and (ARGV[12] == '' or read_new(14).caller ~= 'callback') then return redis.error_reply(FENCED) end
local replies, at, count = {}, 14, tonumber(ARGV[13])
for index = 1, count do
  local new
  new, at = read_new(at)
  local verdict, ref, state = accept(new)
  replies[3 * index - 2] = verdict
  replies[3 * index - 1] = ref
  replies[3 * index] = state
end
flush_all()
audit_flush()
return { replies, queue(at) }
