-- originals: judges whether an original may be sent again.
--
-- A family is an original, its replays, and their replays, in a line. From each, `replayedBy` leads towards the newest,
-- and `follows` (or `replayOf`, if that is missing) to the previous one.

local constants = require('constants')
local fields = require('fields')
local filter = require('filter')
local KEY = require('keys')
local number = require('numbers').number
local outcomes = require('outcomes')
local record = require('record')

local originals = {}

local read_ended = fields.record('state', 'plugin', 'webhook', 'repeatable', 'attempts', 'outcome', 'status',
  'error', 'chain', 'parent', 'createdAt', 'finishedAt', 'replayedBy', 'replay', 'forgottenAt', 'requestBytes',
  'timeout', 'caller', 'replayOf', 'follows', 'subject')

originals.MOST_LOOKED_AT = 2000 -- records that one script reads, including steps of chains

function originals.read_original(run, ref)
  run.looked_at = run.looked_at + 1
  return read_ended(run, ref)
end

-- Returns whether the endpoint may have acted on a call that is not repeatable.
local function may_have_been_done(r)
  if r.repeatable == '1' then return false end
  if r.state == 'interrupted' or string.find(r.attempts, '"maybe"', 1, true) then return true end
  local status, sent = string.match(r.attempts, ',(%d+),"[a-z_]+","([a-z]+)"%]$')
  return r.error == '1' and sent == 'answered' and tonumber(status) < 400
end

local has_done_steps

local function step_was_done(run, ref)
  local step = originals.read_original(run, ref)
  if not step then return true end -- records of steps may be deleted earlier than their chain's: unknown
  if step.chain == '1' then return has_done_steps(run, step) end
  return step.repeatable ~= '1' and (step.state == 'sending' or outcomes.is_delivered(step.state, step.error)
    or may_have_been_done(step))
end

has_done_steps = function(run, parent)
  for _, ref in ipairs(redis.call('LRANGE', KEY.steps(run, parent.ref), 0, -1)) do
    if step_was_done(run, ref) then return true end
  end
  return false
end

local function is_uncertain(run, r)
  if outcomes.is_delivered(r.state, r.error) then return false end
  if r.chain == '1' then return has_done_steps(run, r) end
  return may_have_been_done(r)
end

-- Returns the newest member of a family; nothing if its record is gone.
function originals.newest_of(run, r)
  for _ = 1, constants.MOST_HOPS do
    if not r or r.replayedBy == '' then return r end
    r = originals.read_original(run, r.replayedBy)
  end
  return nil
end

-- Returns whether a call is repeatable whatever it did. A chain's record says that it is, whatever its steps are.
function originals.is_surely_repeatable(r)
  return r.repeatable == '1' and r.chain ~= '1'
end

-- Returns whether any member of a family may have been executed: the original, the newest, and all between them. A
-- member whose record is gone counts as executed, unless the next one is repeatable and not a chain.
local function is_family_uncertain(run, r, last)
  if is_uncertain(run, r) then return true end
  local one = last
  for _ = 1, constants.MOST_HOPS do
    if one.ref ~= r.ref and is_uncertain(run, one) then return true end
    local before = one.follows ~= '' and one.follows or one.replayOf
    if before == '' then return false end
    local after = one
    one = before == r.ref and r or originals.read_original(run, before)
    if not one then return not originals.is_surely_repeatable(after) end
  end
  return not originals.is_surely_repeatable(r)
end

-- Returns why a family with this newest member must not be sent again; nothing if it may be.
function originals.why_not_again(last, job)
  if not last or last.replay == job.id or outcomes.is_delivered(last.state, last.error) then return 'replayed' end
  return not record.FINAL[last.state] and 'being_replayed' or nil
end

-- Returns whether a filter selects any replay of an invocation, of which this is the newest.
local function selects_newer(run, f, r, newest)
  local one = newest
  for _ = 1, constants.MOST_HOPS do
    if not one or one.ref == r.ref then return false end
    if filter.selects(f, one) then return true end
    one = originals.read_original(run, one.follows ~= '' and one.follows or one.replayOf)
  end
  return false
end

-- Returns whether a replay with this filter takes an invocation: of a family, only the newest member that the filter
-- selects, and none if the newest of all is under way or has succeeded.
function originals.is_taken(run, f, r, job)
  if not filter.selects(f, r) then return false end
  if r.replayedBy == '' then return true end
  local newest = originals.newest_of(run, r)
  return not originals.why_not_again(newest, job) and not selects_newer(run, f, r, newest)
end

local function why_without_contents(run, r)
  if r.forgottenAt ~= '' then return 'forgotten' end
  if redis.call('EXISTS', KEY.payload(run, r.ref)) == 1 then return nil end
  return r.state == 'rejected' and r.requestBytes == '0' and 'refused' or 'expired'
end

-- Judges an original. job: id, plugin, ended_by (ms), uncertain (true: replays uncertain ones too); known: the
-- original's record, if it was read already. Returns why it is skipped or nothing, its record, and the newest of its
-- family.
function originals.judge(run, ref, job, known)
  local r = known or originals.read_original(run, ref)
  if not r or r.plugin ~= job.plugin then return 'expired' end
  if r.parent ~= '' then return 'chain_step', r end
  if not record.FINAL[r.state] or number(r.finishedAt) > job.ended_by then return 'not_final', r end
  local last = r
  if r.replayedBy ~= '' then
    last = originals.newest_of(run, r)
    local why = originals.why_not_again(last, job)
    if why then return why, r end
  end
  if not job.uncertain and is_family_uncertain(run, r, last) then return 'uncertain', r end
  return why_without_contents(run, r), r, last
end

return originals
