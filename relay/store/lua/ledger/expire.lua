-- expire: ends calls that have reached their maximum age, and chains past their deadline, whatever holds them back. A
-- call that is being sent finishes its attempt first.
--
-- KEYS  1 the root of the partition
-- ARGV  1 token  2 margin_ms  3 grace_ms  4-7 retention ms: ok, failed, rejected, contents (0: as records)
--       8 limit of calls  9 limit of webhooks
-- Returns {ended, more ('1': others have to be examined at once), ready: ref, lane, ...}
--
-- Each webhook gets an equal part of the limit. A repeated call continues with the next calls.

local conclude = require('conclude')
local damage = require('damage')
local fields = require('fields')
local finish = require('finish')
local KEY = require('keys')
local numbers = require('numbers')
local ready = require('ready')
local record = require('record')
local tallies = require('tallies')
local int, number = numbers.int, numbers.number

local read_open = fields.record('state', 'callback', 'token', 'leaseEnd', 'plugin', 'webhook', 'timeout',
  'repeatable', 'losses', 'attempts', 'requestBytes', 'waiters', 'parked', 'createdAt', 'lane', 'chain', 'deadline',
  'parent', 'replay', 'step', 'endBy')

local DAMAGED_AGAIN = 60000 -- ms

-- Ends a call that is in `sending`. A lost call's alarm rings soon after its lease, so that a worker claims it again;
-- it ends here only if none has.
local function end_sent(run, r, by)
  local until_when = number(r.leaseEnd) + 2 * run.grace
  if until_when > run.now then return tallies.open(tallies.of(run, r.plugin, r.webhook), r.ref, until_when) end
  run.ended = run.ended + 1
  if not conclude.note_loss(run, r) then return conclude.without_answer(run, r, 'interrupted', 'lease_lost') end
  return by()
end

local function look_at(run, ref, plugin, webhook)
  local r = read_open(run, ref)
  if not r or record.FINAL[r.state] then return tallies.close(tallies.of(run, plugin, webhook), ref) end
  local by
  if conclude.is_out_of_time(run, r) then
    by = function() return conclude.without_answer(run, r, 'unreachable', 'chain_timeout') end
  elseif conclude.is_aged(run, r) then
    by = function() return conclude.as_too_old(run, r) end
  else
    local by_when = record.ends_by(r, conclude.steered_by(run, r) == 'paused')
    return tallies.open(tallies.of(run, plugin, webhook), ref, math.max(run.now + 1, by_when))
  end
  if r.state == 'sending' then return end_sent(run, r, by) end
  run.ended = run.ended + 1
  by()
end

-- Looks at a call; if something that belongs to it is damaged, looks at it again only after a while.
local function look(run, ref, plugin, webhook)
  if not damage.try(look_at, run, ref, plugin, webhook) then
    redis.call('ZADD', KEY.open(run, plugin, webhook), int(run.now + DAMAGED_AGAIN), ref)
  end
end

local function main(run)
  local most_calls, most_webhooks = tonumber(run.args[8]), tonumber(run.args[9])
  run.ended = 0
  conclude.read_arguments(run, 1, 2)
  ready.read_grace(run, 3)
  finish.read_retention(run, 4)

  local names = redis.call('ZRANGEBYSCORE', KEY.ages(run), '-inf', run.now_text, 'LIMIT', 0, most_webhooks)
  local share = math.max(1, math.floor(most_calls / math.max(1, #names)))
  for _, name in ipairs(names) do
    local plugin, webhook = string.match(name, '^([^/]+)/(.+)$')
    local key = KEY.open(run, plugin, webhook)
    for _, ref in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', run.now_text, 'LIMIT', 0, share)) do
      look(run, ref, plugin, webhook)
    end
  end
  finish.flush(run)

  -- Notes when to look at each webhook next; those with more calls to end now come after the others.
  local more = #names == most_webhooks
  for _, name in ipairs(names) do
    local plugin, webhook = string.match(name, '^([^/]+)/(.+)$')
    local first = redis.call('ZRANGE', KEY.open(run, plugin, webhook), 0, 0, 'WITHSCORES')
    if first[1] then
      redis.call('ZADD', KEY.ages(run), int(math.max(run.now, tonumber(first[2]))), name)
      more = more or tonumber(first[2]) <= run.now
    else
      redis.call('ZREM', KEY.ages(run), name)
    end
  end
  return { run.ended, more and '1' or '', run.ready }
end

return { kind = 'confirms', is_fenced = true, run = main }
