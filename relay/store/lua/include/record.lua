-- record: reads and writes an invocation's hash.
-- needs: clock, tallies
-- record read_chain_position: state chain parent parentStep pins
-- values read_state: state

local FINAL = { delivered = true, unreachable = true, interrupted = true, rejected = true, cancelled = true }

-- Returns whether the script call with this token has already taken the record out of `sending`, and so is repeated.
-- The record's `token` is that of the call that holds it or, if it is final, ended it; `lastToken` is that of the call
-- that last gave it back, for another attempt or to wait.
local function ended_with(r, token)
  return r.lastToken == token or (FINAL[r.state] and r.token == token)
end

local NO_CHAIN = { chain = '', parent = '', parentStep = '', pins = '' }

-- Returns the fields that make a call a chain, or a step of one; most calls are neither, and have no root (false).
local function chain_position(ref, root)
  return root and read_chain_position(ref) or NO_CHAIN
end

local overs = {} -- by parent's reference id: whether it is over, as read by this script

-- Returns whether a step's parent is final or gone; false for '', a call that is not a step.
local function is_over(parent_ref)
  if parent_ref == '' then return false end
  if overs[parent_ref] == nil then
    local state = read_state(parent_ref)
    overs[parent_ref] = not state or FINAL[state] or false
  end
  return overs[parent_ref]
end

-- Returns whether the chain that a call is a step of, or the outermost chain, is over.
local function is_orphaned_step(parent, root)
  return is_over(parent) or (parent ~= '' and root ~= parent and is_over(root))
end

-- Returns when a call has to end at the latest: by its age and, for a chain, by its deadline, unless that is to be
-- ignored.
local function ends_by(r, without_deadline)
  local by = tonumber(r.endBy) or math.huge
  local deadline = not without_deadline and tonumber(r.deadline) or math.huge
  return math.min(by, deadline)
end

-- Appends a field to a list of fields to write.
local function set_field(fields, name, value)
  local last = #fields
  fields[last + 1] = name
  fields[last + 2] = value
end

local function add_field(fields, name, value)
  if value ~= '' then set_field(fields, name, value) end
end

-- Adds an invocation to its subject's index and, while the subject is being forgotten, to what that has to reach.
local function add_to_subject(new)
  redis.call('ZADD', KEY.subject_index(new.plugin, new.subject), now_text, new.ref)
  if redis.call('ZSCORE', KEY.forgettings(), new.plugin .. '/' .. new.subject) then
    redis.call('ZADD', KEY.forgetting_open(new.plugin, new.subject), now_text, new.ref)
  end
end

-- Writes a new record; fields that would be empty are left out.
-- new: ref plugin webhook revision lane timeout repeatable payload requestBytes caller traceparent waiter chain pins
-- subject (keyed hash, '' for none) age (ms; nil if it is final at once) delay (ms, nil for none) callback; for a
-- chain's step: parent step item root; for a replay: replay replay_of. A record in the state queued counts as accepted.
local function write_record(new, state)
  local first_ms = now + (new.delay or 0) -- when it may first be sent
  if OWN_CALLERS[new.caller] then new.callback = '' end -- a callback has no callback
  local fields = {
    'plugin', new.plugin, 'webhook', new.webhook, 'revision', new.revision, 'state', state, 'lane', new.lane,
    'createdAt', now_text, 'readyAt', now_text, 'timeout', new.timeout, 'repeatable', new.repeatable,
    'requestBytes', new.requestBytes,
  }
  add_field(fields, 'caller', new.caller)
  add_field(fields, 'traceparent', new.traceparent)
  add_field(fields, 'waiters', new.waiter)
  add_field(fields, 'callback', new.callback or '')
  if new.delay then
    add_field(fields, 'notBefore', int(first_ms))
    add_field(fields, 'pause', int(new.delay))
  end
  local by = new.age and first_ms + new.age
  if by then add_field(fields, 'endBy', int(by)) end
  if new.chain == '1' then
    local deadline = first_ms + tonumber(new.timeout)
    by = by and math.min(by, deadline)
    add_field(fields, 'chain', '1')
    add_field(fields, 'pins', new.pins)
    add_field(fields, 'deadline', int(deadline))
    add_field(fields, 'step', '-1')
    add_field(fields, 'open', '0')
    add_field(fields, 'root', new.root or new.ref)
  end
  if new.parent then
    add_field(fields, 'parent', new.parent)
    add_field(fields, 'parentStep', new.step)
    add_field(fields, 'parentItem', new.item)
    if new.chain ~= '1' then add_field(fields, 'root', new.root) end
  end
  if new.replay then
    add_field(fields, 'replay', new.replay)
    add_field(fields, 'replayOf', new.replay_of)
  end
  if new.subject ~= '' then
    add_field(fields, 'subject', new.subject)
    add_to_subject(new) -- first: no record may be missing where its subject is forgotten
  end
  redis.call('HSET', KEY.record(new.ref), unpack(fields))
  if new.payload ~= '' then redis.call('SET', KEY.payload(new.ref), new.payload) end
  local t = tally_of(new.plugin, new.webhook)
  tally_new(t, new.ref, new.requestBytes, state == 'queued')
  if by then tally_open(t, new.ref, by) end
end
