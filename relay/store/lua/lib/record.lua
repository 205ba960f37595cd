-- record: reads and writes an invocation's hash.

local constants = require('constants')
local fields = require('fields')
local KEY = require('keys')
local int = require('numbers').int
local tallies = require('tallies')

local record = {}

local read_chain_position = fields.record('state', 'chain', 'parent', 'parentStep', 'pins')

record.read_state = fields.values('state')

record.FINAL = { delivered = true, unreachable = true, interrupted = true, rejected = true, cancelled = true }

-- Returns whether the script call with this token has already taken the record out of `sending`, and so is repeated.
-- The record's `token` is that of the call that holds it or, if it is final, ended it; `lastToken` is that of the call
-- that last gave it back, for another attempt or to wait.
function record.ended_with(r, token)
  return r.lastToken == token or (record.FINAL[r.state] and r.token == token)
end

local NO_CHAIN = { chain = '', parent = '', parentStep = '', pins = '' }

-- Returns the fields that make a call a chain, or a step of one; most calls are neither, and have no root (false).
function record.chain_position(run, ref, root)
  return root and read_chain_position(run, ref) or NO_CHAIN
end

-- Returns whether a step's parent is final or gone; false for '', a call that is not a step.
function record.is_over(run, parent_ref)
  if parent_ref == '' then return false end
  local known = run.parents_over or {} -- by parent's reference id, as read by this run
  run.parents_over = known
  if known[parent_ref] == nil then
    local state = record.read_state(run, parent_ref)
    known[parent_ref] = not state or record.FINAL[state] or false
  end
  return known[parent_ref]
end

-- Returns whether the chain that a call is a step of, or the outermost chain, is over.
function record.is_orphaned_step(run, parent, root)
  return record.is_over(run, parent) or (parent ~= '' and root ~= parent and record.is_over(run, root))
end

-- Returns when a call has to end at the latest: by its age and, for a chain, by its deadline, unless the deadline is to
-- be ignored.
function record.ends_by(r, without_deadline)
  local by = tonumber(r.endBy) or math.huge
  local deadline = not without_deadline and tonumber(r.deadline) or math.huge
  return math.min(by, deadline)
end

-- Appends a field to a list of fields to write.
function record.set_field(fields, name, value)
  local last = #fields
  fields[last + 1] = name
  fields[last + 2] = value
end

function record.add_field(fields, name, value)
  if value ~= '' then record.set_field(fields, name, value) end
end

-- Adds an invocation to its subject's index and, while a job forgets the subject, to what the job must reach.
local function add_to_subject(run, new)
  redis.call('ZADD', KEY.subject_index(run, new.plugin, new.subject), run.now_text, new.ref)
  if redis.call('ZSCORE', KEY.forgettings(run), new.plugin .. '/' .. new.subject) then
    redis.call('ZADD', KEY.forgetting_open(run, new.plugin, new.subject), run.now_text, new.ref)
  end
end

-- Writes a new record; fields that would be empty are left out.
-- new: ref plugin webhook revision lane timeout repeatable payload requestBytes caller traceparent waiter chain pins
-- subject (keyed hash, '' for none) age (ms; nil if it is final at once) delay (ms, nil for none) callback; for a
-- chain's step: parent step item root; for a replay: replay replay_of. A record in the state queued counts as accepted.
function record.write(run, new, state)
  local first_ms = run.now + (new.delay or 0) -- when it may first be sent
  if constants.OWN_CALLERS[new.caller] then new.callback = '' end -- a callback has no callback
  local fields = {
    'plugin', new.plugin, 'webhook', new.webhook, 'revision', new.revision, 'state', state, 'lane', new.lane,
    'createdAt', run.now_text, 'readyAt', run.now_text, 'timeout', new.timeout, 'repeatable', new.repeatable,
    'requestBytes', new.requestBytes,
  }
  record.add_field(fields, 'caller', new.caller)
  record.add_field(fields, 'traceparent', new.traceparent)
  record.add_field(fields, 'waiters', new.waiter)
  record.add_field(fields, 'callback', new.callback or '')
  if new.delay then
    record.add_field(fields, 'notBefore', int(first_ms))
    record.add_field(fields, 'pause', int(new.delay))
  end
  local by = new.age and first_ms + new.age
  if by then record.add_field(fields, 'endBy', int(by)) end
  if new.chain == '1' then
    local deadline = first_ms + tonumber(new.timeout)
    by = by and math.min(by, deadline)
    record.add_field(fields, 'chain', '1')
    record.add_field(fields, 'pins', new.pins)
    record.add_field(fields, 'deadline', int(deadline))
    record.add_field(fields, 'step', '-1')
    record.add_field(fields, 'open', '0')
    record.add_field(fields, 'root', new.root or new.ref)
  end
  if new.parent then
    record.add_field(fields, 'parent', new.parent)
    record.add_field(fields, 'parentStep', new.step)
    record.add_field(fields, 'parentItem', new.item)
    if new.chain ~= '1' then record.add_field(fields, 'root', new.root) end
  end
  if new.replay then
    record.add_field(fields, 'replay', new.replay)
    record.add_field(fields, 'replayOf', new.replay_of)
  end
  if new.subject ~= '' then
    record.add_field(fields, 'subject', new.subject)
    add_to_subject(run, new) -- first: no record may be missed when its subject is forgotten
  end
  redis.call('HSET', KEY.record(run, new.ref), unpack(fields))
  if new.payload ~= '' then redis.call('SET', KEY.payload(run, new.ref), new.payload) end
  local t = tallies.of(run, new.plugin, new.webhook)
  tallies.add(run, t, new.ref, new.requestBytes, state == 'queued')
  if by then tallies.open(t, new.ref, by) end
end

return record
