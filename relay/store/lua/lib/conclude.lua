-- conclude: ends calls that got no answer: those that are too old or lost, and chains past their deadline.
--
-- r: the fields that finish needs, and attempts, losses, repeatable, timeout, leaseEnd, endBy, deadline, step.

local fields = require('fields')
local finish = require('finish')
local jobs = require('jobs')
local leases = require('leases')
local numbers = require('numbers')
local int, number = numbers.int, numbers.number

local conclude = {}

local read_revision = fields.values('revision')

local LOSSES = 3 -- after this many lost leases since the last progress even a repeatable call ends

-- Reads the token, and the margin (ms) by which leases are longer than timeouts, from the arguments.
function conclude.read_arguments(run, token_at, margin_at)
  run.caller_token = run.args[token_at]
  leases.read_margin(run, margin_at)
end

-- Ends a call with the attempts that are known.
function conclude.without_answer(run, r, state, outcome)
  local without_result = state == 'cancelled' or state == 'rejected'
  finish.call(run, r, {
    state = state, outcome = outcome, status = without_result and '' or '0', error = without_result and '' or '1',
    result = '', token = run.caller_token, fields = { 'losses', r.losses, 'attempts', r.attempts },
  })
  if r.chain == '1' then finish.cancel_steps(run, r.ref) end
  return 'ended', state, outcome
end

function conclude.add_attempt(run, r, started, outcome, sent)
  local attempt = string.format('[%s,%s,0,"%s","%s"]', int(started), int(run.now - started), outcome, sent)
  r.attempts = r.attempts == '' and attempt or (r.attempts .. ',' .. attempt)
end

-- Returns whether a call has reached its maximum age.
function conclude.is_aged(run, r)
  return r.endBy ~= '' and number(r.endBy) <= run.now
end

-- Returns whether a call's revision was removed; only for webhooks that have a removed revision.
function conclude.is_older(run, ref, w)
  return number(read_revision(run, ref)) <= w.removed
end

-- Returns whether a call's webhook was removed after the call was accepted. Steps and chains that have begun continue.
function conclude.is_removed(run, r, w)
  if w.removed == 0 or r.parent ~= '' or (r.chain == '1' and r.step ~= '-1') then return false end
  return conclude.is_older(run, r.ref, w)
end

-- Records that a call is too old; its earlier attempts show whether a request may have been sent.
function conclude.note_age(run, r)
  if r.chain == '1' then return end
  conclude.add_attempt(run, r, run.now, 'expired', string.find(r.attempts, '"maybe"', 1, true) and 'maybe' or 'no')
end

function conclude.as_too_old(run, r)
  conclude.note_age(run, r)
  return conclude.without_answer(run, r, 'unreachable', 'expired')
end

-- Records that the worker that held the lease is gone (a parent made no attempt). Returns whether the call may be
-- claimed again.
function conclude.note_loss(run, r)
  if r.chain ~= '1' then
    conclude.add_attempt(run, r, number(r.leaseEnd) - leases.length_of(run, r), 'lease_lost', 'maybe')
  end
  r.losses = int(number(r.losses) + 1)
  return r.repeatable == '1' and tonumber(r.losses) < LOSSES
end

-- Returns the state of the replay job that controls a call, or ''; a replayed chain that has begun continues anyway.
function conclude.steered_by(run, r)
  return r.replay ~= '' and (r.chain ~= '1' or r.step == '-1') and jobs.state_of(run, r.replay) or ''
end

-- Returns whether a chain is past its deadline; the deadline does not count while its replay job is paused.
function conclude.is_out_of_time(run, r)
  return r.chain == '1' and number(r.deadline) <= run.now and conclude.steered_by(run, r) ~= 'paused'
end

return conclude
