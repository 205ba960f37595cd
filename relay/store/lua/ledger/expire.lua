-- expire: ends calls that have reached their maximum age, and chains past their deadline, whatever holds them back. A
-- call that is being sent finishes its attempt first.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 token  2 margin_ms  3 grace_ms  4-7 retention ms: ok, failed, rejected, contents (0: as records)
--       8 limit of calls  9 limit of webhooks
-- Returns {ended, more ('1': others have to be examined at once), ready: ref, lane, ...}
--
-- Each webhook gets an equal part of the limit. A repeated call continues with the next calls.
-- needs: clock, conclude, finish, ready, record, tallies
-- record read_open: state callback token leaseEnd plugin webhook timeout repeatable losses attempts requestBytes
--   waiters parked createdAt lane chain deadline parent replay step endBy

local most_calls, most_webhooks = tonumber(ARGV[8]), tonumber(ARGV[9])
local ended = 0
local DAMAGED_AGAIN = 60000 -- ms
conclude_from(1, 2)
grace_from(3)
retention_from(4)

-- Ends a call that is in `sending`. A lost call's alarm rings soon after its lease, so that a worker claims it again;
-- it ends here only if none has.
local function end_sent(r, by)
  local until_when = number(r.leaseEnd) + 2 * grace
  if until_when > now then return tally_open(tally_of(r.plugin, r.webhook), r.ref, until_when) end
  ended = ended + 1
  if not note_loss(r) then return conclude(r, 'interrupted', 'lease_lost') end
  return by()
end

local function look_at(ref, plugin, webhook)
  local r = read_open(ref)
  if not r or FINAL[r.state] then return tally_close(tally_of(plugin, webhook), ref) end
  local by
  if is_out_of_time(r) then
    by = function() return conclude(r, 'unreachable', 'chain_timeout') end
  elseif is_aged(r) then
    by = function() return conclude_aged(r) end
  else
    return tally_open(tally_of(plugin, webhook), ref, math.max(now + 1, ends_by(r, steered_by(r) == 'paused')))
  end
  if r.state == 'sending' then return end_sent(r, by) end
  ended = ended + 1
  by()
end

-- Looks at a call; if something that belongs to it is damaged, it has to be looked at again only after a while.
local function look(ref, plugin, webhook)
  if not try(look_at, ref, plugin, webhook) then
    redis.call('ZADD', KEY.open(plugin, webhook), int(now + DAMAGED_AGAIN), ref)
  end
end

local names = redis.call('ZRANGEBYSCORE', KEY.ages(), '-inf', int(now), 'LIMIT', 0, most_webhooks)
local share = math.max(1, math.floor(most_calls / math.max(1, #names)))
for _, name in ipairs(names) do
  local plugin, webhook = string.match(name, '^([^/]+)/(.+)$')
  for _, ref in ipairs(redis.call('ZRANGEBYSCORE', KEY.open(plugin, webhook), '-inf', int(now), 'LIMIT', 0, share)) do
    look(ref, plugin, webhook)
  end
end
flush_all()

-- Notes when each webhook has to be looked at next; those with more calls to end now come after the others.
local more = #names == most_webhooks
for _, name in ipairs(names) do
  local plugin, webhook = string.match(name, '^([^/]+)/(.+)$')
  local first = redis.call('ZRANGE', KEY.open(plugin, webhook), 0, 0, 'WITHSCORES')
  if first[1] then
    redis.call('ZADD', KEY.ages(), int(math.max(now, tonumber(first[2]))), name)
    more = more or tonumber(first[2]) <= now
  else
    redis.call('ZREM', KEY.ages(), name)
  end
end
return { ended, more and '1' or '', ready }
