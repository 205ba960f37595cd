-- conclude: ends calls that got no answer: too old, lost, or of a chain past its deadline.
--
-- r: the fields that finish needs, and attempts, losses, repeatable, timeout, leaseEnd, endBy, deadline, step.
-- needs: clock, finish, jobs, leases
-- values read_revision: revision

local LOSSES = 3 -- after this many lost leases since the last progress even a repeatable call ends
local concluder = '' -- the token of the script's caller, written to calls that it ends

-- Reads from ARGV the token, and the margin (ms) by which leases are longer than their calls' timeouts.
local function conclude_from(token_at, margin_at)
  concluder = ARGV[token_at]
  lease_margin_from(margin_at)
end

-- Ends a call with the attempts that are known.
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

-- Returns whether a call has reached its maximum age.
local function is_aged(r)
  return r.endBy ~= '' and number(r.endBy) <= now
end

-- Returns whether a call's revision was removed; only for webhooks that have a removed revision.
local function is_older(ref, w)
  return number(read_revision(ref)) <= w.removed
end

-- Returns whether a call's webhook was removed after the call was accepted. Chains that have begun, and steps, go on.
local function is_removed(r, w)
  if w.removed == 0 or r.parent ~= '' or (r.chain == '1' and r.step ~= '-1') then return false end
  return is_older(r.ref, w)
end

-- Records that a call is too old; its earlier attempts tell whether a request may have been sent.
local function note_age(r)
  if r.chain == '1' then return end
  add_attempt(r, now, 'expired', string.find(r.attempts, '"maybe"', 1, true) and 'maybe' or 'no')
end

local function conclude_aged(r)
  note_age(r)
  return conclude(r, 'unreachable', 'expired')
end

-- Records that the worker that held the lease is gone; a parent made no attempt. Returns whether the call may be
-- claimed again.
local function note_loss(r)
  if r.chain ~= '1' then add_attempt(r, number(r.leaseEnd) - lease_of(r), 'lease_lost', 'maybe') end
  r.losses = int(number(r.losses) + 1)
  return r.repeatable == '1' and tonumber(r.losses) < LOSSES
end

-- Returns the state of the replay job that controls a call, or ''; a replay's chain that has begun goes on regardless.
local function steered_by(r)
  return r.replay ~= '' and (r.chain ~= '1' or r.step == '-1') and job_state(r.replay) or ''
end

-- Returns whether a chain is past its deadline; the deadline does not count while its replay job is paused.
local function is_out_of_time(r)
  return r.chain == '1' and number(r.deadline) <= now and steered_by(r) ~= 'paused'
end
