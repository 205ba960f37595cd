-- conclude: calls that end without an answer: too old, lost, their chain out of time.
--
-- r: what finish needs, and attempts, losses, repeatable, timeout, leaseEnd, endBy, deadline, step.
-- needs: clock, finish, jobs

local LOSSES = 3 -- so many lost leases since the last progress end even what may be repeated
local concluder = '' -- the token of this script's call, which ends them
local lease_margin = 0

-- Which ARGV are the token and the margin (ms) that leases have beyond their calls' timeouts.
local function conclude_from(token_at, margin_at)
  concluder, lease_margin = ARGV[token_at], tonumber(ARGV[margin_at])
end

-- Ends a call here, with what is known of its attempts.
local function conclude(r, state, outcome)
  local without_result = state == 'cancelled' or state == 'rejected'
  finish(r, {
    state = state, outcome = outcome, status = without_result and '' or '0', error = without_result and '' or '1',
    result = '', token = concluder, fields = { 'losses', r.losses, 'attempts', r.attempts },
  })
  if r.chain == '1' then cancel_steps(r.ref) end
  return 'ended', state, outcome
end

local function add_attempt(r, started, outcome, sent)
  local attempt = string.format('[%s,%s,0,"%s","%s"]', int(started), int(now - started), outcome, sent)
  r.attempts = r.attempts == '' and attempt or (r.attempts .. ',' .. attempt)
end

local function lease_of(r)
  return (r.chain == '1' and 0 or tonumber(r.timeout)) + lease_margin
end

-- Whether a call has had its time.
local function is_aged(r)
  return r.endBy ~= '' and number(r.endBy) <= now
end

-- Whether a call is of a revision that was removed, of a webhook of which one was.
local function is_older(ref, w)
  return number(redis.call('HGET', KEY.record(ref), 'revision')) <= w.removed
end

-- Whether a call's webhook was removed since it was accepted. What a chain has begun goes on.
local function is_removed(r, w)
  if w.removed == 0 or r.parent ~= '' or (r.chain == '1' and r.step ~= '-1') then return false end
  return is_older(r.ref, w)
end

-- Too old. Whether a request of it may have left is what its attempts say.
local function note_age(r)
  if r.chain == '1' then return end
  add_attempt(r, now, 'expired', string.find(r.attempts, '"maybe"', 1, true) and 'maybe' or 'no')
end

local function conclude_aged(r)
  note_age(r)
  return conclude(r, 'unreachable', 'expired')
end

-- The worker that held the lease is gone (a parent made no attempt). Whether the call may be taken once more.
local function note_loss(r)
  if r.chain ~= '1' then add_attempt(r, number(r.leaseEnd) - lease_of(r), 'lease_lost', 'maybe') end
  r.losses = int(number(r.losses) + 1)
  return r.repeatable == '1' and tonumber(r.losses) < LOSSES
end

-- A replay's chain that is under way goes on whatever its job is told.
local function steered_by(r)
  return r.replay ~= '' and (r.chain ~= '1' or r.step == '-1') and job_state(r.replay) or ''
end

-- A chain past its deadline, which does not count while its replay job is paused.
local function is_out_of_time(r)
  return r.chain == '1' and number(r.deadline) <= now and steered_by(r) ~= 'paused'
end
