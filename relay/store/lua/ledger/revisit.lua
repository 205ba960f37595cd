-- revisit: goes through a piece of a webhook's calls that are not final, after a change that concerns all of them. If
-- the webhook was removed, waiting calls end as rejected; if its breaker was closed or its limits changed, calls that
-- may be sent now are made ready.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 token  2 margin_ms  3 grace_ms  4-7 retention ms: ok, failed, rejected, contents (0: as records)
--       8 plugin  9 webhook  10 cursor ('0' at the beginning)  11 about how many to examine
-- Returns {the next piece's cursor, '0' if there is none, ready: ref, lane, ...}
--
-- A repeated call skips what was done, and goes on. If a caller stops before the last piece, the next sweep starts
-- again.
-- needs: breaker, clock, conclude, finish, parking, policy, ready
-- record read_revisited: state callback token leaseEnd plugin webhook timeout repeatable losses attempts requestBytes
--   waiters parked createdAt lane chain deadline parent replay step endBy held

conclude_from(1, 2)
grace_from(3)
retention_from(4)
local plugin, webhook = ARGV[8], ARGV[9]
local w = webhook_of(plugin, webhook)

local function look(ref)
  local r = read_revisited(ref)
  if not r or (r.state ~= 'queued' and r.state ~= 'retrying') then return end
  if is_removed(r, w) then
    conclude(r, 'rejected', 'webhook_not_registered')
  elseif r.state == 'retrying' and r.held == '1' and breaker(w) ~= 'open' and not w.paused then
    redis.call('HSET', KEY.record(ref), 'notBefore', now_text, 'held', '')
    make_ready(ref, r.lane)
  elseif r.parked == '1' and not w.paused and not w.concurrency and not w.every then
    make_ready(ref, r.lane)
  end
end

local page = redis.call('ZSCAN', KEY.open(plugin, webhook), ARGV[10], 'COUNT', ARGV[11])
for index = 1, #page[2], 2 do try(look, page[2][index]) end -- a damaged call does not hold up the others
flush_all()
if page[1] == '0' then
  if w.concurrency or w.every then wake(w, 1000, {}) end
  redis.call('SREM', KEY.revisits(), plugin .. '/' .. webhook)
end
return { page[1], ready }
