-- accept: writes the records of a group of triggers. Runs without allow-oom: a full server refuses new work.
--
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2 max_pending  3 max_pending_per_plugin  4 max_pending_bytes  5 refusals per minute and plugin
--       6-9 retention ms: ok, failed, rejected, contents (0: as records)  10 idempotency_ms
--       11 max_pending_bytes_per_plugin  12 actor ('': each trigger's caller)  13 n, then n times:
--       ref plugin webhook revision lane timeout_ms repeatable payload requestBytes caller traceparent waiter
--       chain pins age_ms delay_ms callback subject refusal k, then k times: mac fingerprint
--       (chain '1' for a chain, whose pins are the revisions of its steps' webhooks as JSON; callback: the webhook to
--       trigger at its end, '' for none; subject: keyed hash of the person it concerns, '' for none)
--       then m times: lane, message ('' if the broker is not this database): the lanes whose lists the calls join
-- Returns {{n times: verdict, ref, state}, {lane, how many messages the caller has to publish, ...}}; verdict: accepted
--         known key_reused stale over_capacity unrecorded
--
-- Idempotent: a known reference id changes nothing and is answered as the first time, unless the first run failed
-- halfway: then it is written again.

local alarms = require('alarms')
local audit = require('audit')
local constants = require('constants')
local effects = require('effects')
local finish = require('finish')
local KEY = require('keys')
local numbers = require('numbers')
local ready = require('ready')
local record = require('record')
local revisions = require('revisions')
local waiting = require('waiting')
local int, number = numbers.int, numbers.number

local function pending_of(run, plugin)
  local of_plugin = run.of_plugins[plugin]
  if not of_plugin then
    of_plugin = {
      count = number(redis.call('GET', KEY.plugin_pending(run, plugin))),
      bytes = number(redis.call('HGET', KEY.plugin_bytes(run, plugin), 'pending')),
    }
    run.of_plugins[plugin] = of_plugin
  end
  return of_plugin
end

-- Returns whether the limits leave no capacity for another call of this size; if they leave some, counts it. A fenced
-- partition has no limits: it accepts only callbacks of calls that were accepted before, and nothing ends meanwhile.
local function over_capacity(run, plugin, bytes)
  local own = pending_of(run, plugin)
  if not run.pending[3] and (run.all.count >= run.max_pending or run.all.bytes + bytes > run.max_bytes
    or own.count >= run.max_per_plugin or own.bytes + bytes > run.max_bytes_per_plugin) then
    return true
  end
  run.all.count, run.all.bytes = run.all.count + 1, run.all.bytes + bytes
  own.count, own.bytes = own.count + 1, own.bytes + bytes
  return false
end

local function who(run, new)
  return run.args[12] == '' and new.caller or run.args[12]
end

-- Counts a refusal for lack of capacity, once. Such triggers leave no record: a repeated call is recognised by the id of
-- the group's first refused trigger.
local function count_over_capacity(run, new)
  local refused = KEY.recent_over_capacity(run, new.plugin)
  if run.refused_before[new.plugin] == nil then
    run.refused_before[new.plugin] = redis.call('LPOS', refused, new.ref) and true or false
    if not run.refused_before[new.plugin] then
      redis.call('LPUSH', refused, new.ref)
      redis.call('LTRIM', refused, 0, 63)
      redis.call('EXPIRE', refused, 600)
    end
  end
  if not run.refused_before[new.plugin] then
    effects.sum_count(effects.sums_of(run, new.plugin), 'over_capacity', 1)
    audit.add_trigger(run, who(run, new), new, 'over_capacity', new.ref)
  end
end

-- Returns what an Idempotency-Key was used for: verdict and reference id; nothing if it was not used.
local function used_before(run, new)
  for index = 1, new.macs and #new.macs or 0, 2 do
    local used = redis.call('HMGET', KEY.idempotency(run, new.plugin, new.webhook, new.macs[index]), 'ref', 'fingerprint')
    if used[1] and used[1] ~= new.ref then -- it is its own if a run that failed halfway has written it
      if used[2] == new.macs[index + 1] then return 'known', used[1] end
      return 'key_reused', used[1]
    end
  end
end

local function refuse(run, new)
  audit.add_trigger(run, who(run, new), new, new.refusal, new.ref)
  local minute = KEY.refusals(run, new.plugin, int(math.floor(run.now / 60000)))
  local written = redis.call('INCR', minute)
  if written == 1 then redis.call('EXPIRE', minute, 120) end
  if written > run.max_refusals then
    effects.sum_count(effects.sums_of(run, new.plugin), 'unrecorded', 1)
    return 'unrecorded', new.ref, 'rejected'
  end
  new.requestBytes, new.age, new.delay = '0', nil, nil
  record.write(run, new, 'rejected')
  finish.call(run, {
    ref = new.ref, plugin = new.plugin, webhook = new.webhook, requestBytes = '0', waiters = '', parent = '',
    createdAt = run.now_text, callback = new.callback, unregistered = new.revision == '0',
  }, { state = 'rejected', outcome = new.refusal, status = '', error = '', result = '', token = '' })
  return 'accepted', new.ref, 'rejected'
end

-- Returns whether a run that failed halfway has written only a trigger's record: alarms are written later.
local function is_half_written(run, new, state)
  return state == 'queued' and not run.is_new[new.ref] and not redis.call('ZSCORE', KEY.due_queued(run, new.lane), new.ref)
    and not redis.call('ZSCORE', KEY.due_running(run), new.ref)
end

local function accept(run, new)
  local state = record.read_state(run, new.ref)
  if state and not is_half_written(run, new, state) then return 'accepted', new.ref, state end
  local verdict, ref = used_before(run, new)
  if new.refusal and verdict ~= 'known' then return refuse(run, new) end
  if verdict == 'known' then audit.add_trigger(run, who(run, new), new, verdict, ref) end
  if verdict then return verdict, ref, record.read_state(run, ref) or 'expired' end
  if not revisions.are_current(run, new.plugin, new.webhook, new.revision, new.pins) then return 'stale', new.ref, '' end
  if over_capacity(run, new.plugin, tonumber(new.requestBytes)) then
    count_over_capacity(run, new)
    return 'over_capacity', new.ref, ''
  end
  if new.macs then
    local key = KEY.idempotency(run, new.plugin, new.webhook, new.macs[1])
    redis.call('HSET', key, 'ref', new.ref, 'fingerprint', new.macs[2])
    redis.call('PEXPIRE', key, run.args[10])
  end
  record.write(run, new, 'queued')
  run.is_new[new.ref] = true
  if new.delay then
    alarms.set_running_at_end(run, new.ref, run.now + new.delay)
  else
    alarms.set_queued_at_end(run, new.ref, new.lane, run.now + run.grace)
    local of_lane = run.created[new.lane] or {}
    of_lane[#of_lane + 1] = new.ref
    run.created[new.lane] = of_lane
  end
  audit.add_trigger(run, who(run, new), new, 'accepted', new.ref)
  return 'accepted', new.ref, 'queued'
end

local function read_new(run, at)
  local args = run.args
  local new = {
    ref = args[at], plugin = args[at + 1], webhook = args[at + 2], revision = args[at + 3], lane = args[at + 4],
    timeout = args[at + 5], repeatable = args[at + 6], payload = args[at + 7], requestBytes = args[at + 8],
    caller = args[at + 9], traceparent = args[at + 10], waiter = args[at + 11], chain = args[at + 12], pins = args[at + 13],
    age = tonumber(args[at + 14]), callback = args[at + 16], subject = args[at + 17],
  }
  if args[at + 15] ~= '0' then new.delay = tonumber(args[at + 15]) end
  if args[at + 18] ~= '' then new.refusal = args[at + 18] end
  local next_at = at + 20 + 2 * tonumber(args[at + 19])
  if args[at + 19] ~= '0' then new.macs = { unpack(args, at + 20, next_at - 1) } end -- and fingerprints
  return new, next_at
end

-- Makes the new calls wait for a worker, in the lanes that are named from `at` on.
local function queue(run, at)
  local messages = {}
  for index = at, #run.args, 2 do
    local lane = run.args[index]
    if run.created[lane] then
      messages[#messages + 1] = lane
      messages[#messages + 1] = waiting.add(run, lane, run.created[lane], run.args[index + 1])
    end
  end
  return messages
end

local function main(run)
  ready.read_grace(run, 1)
  run.max_pending, run.max_per_plugin = tonumber(run.args[2]), tonumber(run.args[3])
  run.max_bytes, run.max_refusals = tonumber(run.args[4]), tonumber(run.args[5])
  run.max_bytes_per_plugin = tonumber(run.args[11])
  finish.read_retention(run, 6)

  run.pending = redis.call('HMGET', KEY.pending(run), 'count', 'bytes', 'fence')
  run.all = { count = number(run.pending[1]), bytes = number(run.pending[2]) } -- pending, including what this group adds
  run.of_plugins = {} -- plugin -> {count, bytes}: the same for one plugin

  run.refused_before = {} -- plugin -> whether this group was already refused, and the reply was lost

  run.is_new = {} -- ref -> true: its record was written by this run
  run.created = {} -- lane -> the calls that this run has created, and that may be sent now

  -- While the partition is fenced, only the command that ends the restore accepts anything: callbacks that had not been
  -- sent at the time of the backup.
  if run.pending[3] and (run.args[12] == '' or read_new(run, 14).caller ~= 'callback') then
    return redis.error_reply(constants.FENCED)
  end
  local replies, at, count = {}, 14, tonumber(run.args[13])
  for index = 1, count do
    local new
    new, at = read_new(run, at)
    local verdict, ref, state = accept(run, new)
    replies[3 * index - 2] = verdict
    replies[3 * index - 1] = ref
    replies[3 * index] = state
  end
  finish.flush(run)
  audit.flush(run)
  return { replies, queue(run, at) }
end

return { kind = 'confirms', may_be_refused = true, run = main }
