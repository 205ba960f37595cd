-- release: gives back claimed calls that were not sent because the worker drains; no attempt is counted.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 token  2 grace_ms  3... the reference ids
-- Returns ready: ref, lane, ...: the calls given back, and those that their freed permits wake
--
-- Idempotent: a call that was given back has the token as lastToken, and is returned as the first time.
-- needs: parking, permits, policy, ready
-- record read_claimed: state token lastToken plugin webhook lane

local token = ARGV[1]
grace_from(2)

local function release(ref)
  local r = read_claimed(ref)
  if not r then return end
  if r.state == 'queued' and r.lastToken == token then
    wake_one_at_end(webhook_of(r.plugin, r.webhook))
    add_ready(ref, r.lane)
  elseif r.state == 'sending' and r.token == token then
    redis.call('HSET', KEY.record(ref), 'state', 'queued', 'token', '', 'lastToken', token, 'leaseEnd', '')
    release_permit(webhook_of(r.plugin, r.webhook), ref)
    make_ready(ref, r.lane)
  end
end

for index = 3, #ARGV do release(ARGV[index]) end
wake_all()
return ready
