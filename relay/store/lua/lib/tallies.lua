-- tallies: collects, per webhook, what a script does to its calls, and writes it at the end: indexes, counters, and
-- notes for metrics and statistics.
--
-- A note is a line: now, webhook ('-': a name that a caller used and nobody registered), how many calls were accepted,
-- and for each kind of end `kind=duration,duration,...` in ms since acceptance. Notes are counted later, many at a time
-- (relay/store/counts/measures.py): counting here would take a fifth of each script's time.

local effects = require('effects')
local KEY = require('keys')
local int = require('numbers').int
local outcomes = require('outcomes')

local tallies = {}

function tallies.of(run, plugin, webhook)
  local t = run.last_tally
  if t and t.webhook == webhook and t.plugin == plugin then return t end
  local name = plugin .. '/' .. webhook
  t = run.tallies[name]
  if not t then
    t = {
      name = name, plugin = plugin, webhook = webhook, sums = effects.sums_of(run, plugin), accepted = 0,
      first_end = math.huge, created = {}, opened = {}, closed = {}, kinds = {},
    }
    run.tallies[name] = t
  end
  run.last_tally = t
  return t
end

-- Notes that a call is not final, and has to end by `at`.
function tallies.open(t, ref, at)
  local opened = t.opened
  opened[#opened + 1] = int(at)
  opened[#opened + 1] = ref
  if at < t.first_end then t.first_end = at end
end

function tallies.close(t, ref)
  t.closed[#t.closed + 1] = ref
end

-- Notes a new record.
function tallies.add(run, t, ref, request_bytes, is_accepted)
  local created = t.created
  created[#created + 1] = run.now_text
  created[#created + 1] = ref
  t.sums.pending = t.sums.pending + 1
  t.sums.bytes = t.sums.bytes + tonumber(request_bytes)
  if is_accepted then t.accepted = t.accepted + 1 end
end

-- Returns the collected index entries (by createdAt) and durations of one kind of end. Most calls of a group end the
-- same way as the previous one.
local function kind_in(t, ends)
  local k = t.kind
  if k and k.status == ends.status and k.outcome == ends.outcome and k.state == ends.state and k.error == ends.error then
    return k
  end
  local name = outcomes.kind_of(ends.state, ends.outcome, ends.status, ends.error)
  k = t.kinds[name] or { state = ends.state, outcome = ends.outcome, error = ends.error, index = {}, durations = {} }
  k.status = ends.status
  t.kinds[name], t.kind = k, k
  return k
end

-- Notes that a record is final. `named` is the tally under which metrics count its webhook.
function tallies.add_end(run, t, r, ends, bytes, named)
  local k = kind_in(t, ends)
  local index, durations = k.index, (named == t and k or kind_in(named, ends)).durations
  index[#index + 1] = r.createdAt
  index[#index + 1] = r.ref
  durations[#durations + 1] = run.now - tonumber(r.createdAt)
  t.sums.pending = t.sums.pending - 1
  t.sums.bytes = t.sums.bytes - bytes
end

local function write_ends(run, t, note)
  for kind, k in pairs(t.kinds) do
    if k.index[1] then
      redis.call('SADD', KEY.kinds(run, t.plugin), kind)
      effects.in_pieces('ZADD', KEY.ends(run, t.plugin, kind), k.index, 2)
    end
    if k.durations[1] then
      note[#note + 1] = kind .. '=' .. table.concat(k.durations, ',')
      effects.sum_count(t.sums, k.state, #k.durations)
    end
  end
end

local function write_tally(run, t)
  if t.created[1] then
    effects.in_pieces('ZADD', KEY.plugin_index(run, t.plugin), t.created, 2)
    effects.in_pieces('ZADD', KEY.webhook_index(run, t.plugin, t.webhook), t.created, 2)
  end
  if t.opened[1] then
    effects.in_pieces('ZADD', KEY.open(run, t.plugin, t.webhook), t.opened, 2)
    redis.call('ZADD', KEY.ages(run), 'LT', int(t.first_end), t.name)
  end
  if t.closed[1] then effects.in_pieces('ZREM', KEY.open(run, t.plugin, t.webhook), t.closed, 1) end
  local note = { run.now_text, t.webhook, t.accepted }
  write_ends(run, t, note)
  if t.accepted > 0 then effects.sum_count(t.sums, 'accepted', t.accepted) end
  if t.accepted > 0 or note[4] then redis.call('RPUSH', KEY.notes(run, t.plugin), table.concat(note, ' ')) end
end

-- Writes all tallies; called before `effects.flush`, which writes the plugins' sums.
function tallies.flush(run)
  for _, t in pairs(run.tallies) do write_tally(run, t) end
end

return tallies
