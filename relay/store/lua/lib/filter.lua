-- filter: tells which invocations a filter selects, and the smallest indexes that contain them.
--
-- A filter is JSON, written by relay/store/ledger/listing.py: webhook, states, statuses (codes and classes: '503',
-- '5xx'), outcome, caller, since and until (ms of createdAt, inclusive), parent, replay, subject (keyed hash), error
-- ('1', '0'), unreplayed (true: without those of which a replay has succeeded). For a replay's originals also endedBy:
-- final by that time (ms), and not a step of a chain. A missing member selects everything.

local constants = require('constants')
local fields = require('fields')
local KEY = require('keys')
local numbers = require('numbers')
local outcomes = require('outcomes')
local record = require('record')
local int, number = numbers.int, numbers.number

local filter = {}

filter.read_listed = fields.record('state', 'plugin', 'webhook', 'outcome', 'status', 'error', 'caller', 'createdAt',
  'finishedAt', 'parent', 'replayedBy', 'replay', 'subject')

local read_replay = fields.values('state', 'error', 'replayedBy')

local UNFINISHED = { queued = true, sending = true, retrying = true, waiting = true }

local function set_of(list)
  local set = {}
  for _, name in ipairs(list or {}) do set[name] = true end
  return list and #list > 0 and set or nil
end

function filter.from(text, plugin)
  local f = cjson.decode(text)
  f.plugin, f.states, f.statuses = plugin, set_of(f.states), set_of(f.statuses)
  return f
end

local function matches_end(f, state, outcome, error)
  if f.states and not f.states[state] then return false end
  if f.outcome and f.outcome ~= outcome then return false end
  return not f.error or f.error == error
end

-- Returns whether a replay of an invocation, or a replay of that replay, was answered without error.
local function is_made_good(run, r)
  local ref = r.replayedBy
  for _ = 1, constants.MOST_HOPS do
    if ref == '' then return false end
    local state, error, again = read_replay(run, ref)
    if outcomes.is_delivered(state, error) then return true end
    ref = again or ''
  end
  return false
end

-- Returns whether a filter selects an invocation, whatever its replays have come to.
function filter.selects(f, r)
  if r.plugin ~= f.plugin or not matches_end(f, r.state, r.outcome, r.error) then return false end
  if f.statuses and not (f.statuses[r.status] or f.statuses[string.sub(r.status, 1, 1) .. 'xx']) then return false end
  if f.webhook and f.webhook ~= r.webhook then return false end
  if f.caller and f.caller ~= r.caller then return false end
  if f.parent and f.parent ~= r.parent then return false end
  if f.replay and f.replay ~= r.replay then return false end
  if f.subject and f.subject ~= r.subject then return false end
  local created = number(r.createdAt)
  if created < (f.since or 0) or created > (f['until'] or created) then return false end
  return not f.endedBy or record.FINAL[r.state] and number(r.finishedAt) <= f.endedBy and r.parent == ''
end

function filter.matches(run, f, r)
  return filter.selects(f, r) and not (f.unreplayed and r.replayedBy ~= '' and is_made_good(run, r))
end

-- Returns the record of a call that is in an index of the plugin, a damaged one as far as it can be read; nothing if it
-- is gone.
function filter.read_indexed(run, f, item)
  local r = filter.read_listed(run, item.ref)
  if not r then
    if redis.call('EXISTS', KEY.record(run, item.ref)) == 0 then return nil end
    r = {
      ref = item.ref, state = '', plugin = '', webhook = '', outcome = '', status = '', error = '', caller = '',
      createdAt = int(item.created), finishedAt = '', parent = '', replayedBy = '', replay = '',
    }
  end
  if r.plugin == '' then r.plugin = f.plugin end
  return r
end

-- Returns whether the filter may select a status whose first digit alone is known.
local function may_have_status(f, digit)
  if not f.statuses then return true end
  for status in pairs(f.statuses) do
    if digit ~= '' and string.sub(status, 1, 1) == digit then return true end
  end
  return false
end

-- Returns whether the filter can select only final invocations.
local function is_of_ends(f)
  for state in pairs(f.states or {}) do
    if UNFINISHED[state] then return false end
  end
  return f.states or f.outcome or f.statuses or f.error
end

function filter.is_of_unfinished(f)
  for state in pairs(f.states or {}) do
    if not UNFINISHED[state] then return false end
  end
  return f.states ~= nil
end

local function end_keys(run, f)
  local keys = {}
  for _, kind in ipairs(redis.call('SMEMBERS', KEY.kinds(run, f.plugin))) do
    local state, outcome, digit, error = string.match(kind, '^(.-):(.-):(.-):(.-)$')
    if matches_end(f, state, outcome, error) and may_have_status(f, digit) then
      keys[#keys + 1] = KEY.ends(run, f.plugin, kind)
    end
  end
  return keys
end

local function count_in(f, keys)
  local count = 0
  for _, key in ipairs(keys) do
    count = count + redis.call('ZCOUNT', key, f.since or '-inf', f['until'] or '+inf')
  end
  return count
end

-- Returns the smallest sorted sets that together hold everything that the filter selects.
function filter.narrowest(run, f)
  local best = { KEY.plugin_index(run, f.plugin) }
  if f.webhook then best = { KEY.webhook_index(run, f.plugin, f.webhook) } end
  if f.subject then
    local own = { KEY.subject_index(run, f.plugin, f.subject) }
    if count_in(f, own) < count_in(f, best) then best = own end
  end
  if is_of_ends(f) then
    local keys = end_keys(run, f)
    if count_in(f, keys) < count_in(f, best) then best = keys end
  end
  return best
end

return filter
