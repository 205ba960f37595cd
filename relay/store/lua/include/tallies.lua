-- tallies: collects per webhook what a script does to its calls, and writes it at the end: indexes, counters, and notes
-- for metrics and statistics.
--
-- A note is a line: now, webhook ('-': a name that a caller used and nobody registered), how many calls were accepted,
-- and for each kind of end `kind=duration,duration,...` in ms since acceptance. Notes are counted later, many at a time
-- (relay/store/counts/measures.py): counting here would take a fifth of each script's time.
-- needs: clock, effects, ends

local tallies = {} -- plugin/webhook -> tally
local tally = nil -- the one asked for last: most ids of a group have the same webhook

local function tally_of(plugin, webhook)
  if tally and tally.webhook == webhook and tally.plugin == plugin then return tally end
  local name = plugin .. '/' .. webhook
  tally = tallies[name]
  if not tally then
    tally = {
      name = name, plugin = plugin, webhook = webhook, sums = sums_of(plugin), accepted = 0, first_end = math.huge,
      created = {}, opened = {}, closed = {}, kinds = {},
    }
    tallies[name] = tally
  end
  return tally
end

-- Notes that a call is not final, and has to end by `at`.
local function tally_open(t, ref, at)
  local opened = t.opened
  opened[#opened + 1] = int(at)
  opened[#opened + 1] = ref
  if at < t.first_end then t.first_end = at end
end

local function tally_close(t, ref)
  t.closed[#t.closed + 1] = ref
end

-- Notes a new record.
local function tally_new(t, ref, request_bytes, is_accepted)
  local created = t.created
  created[#created + 1] = now_text
  created[#created + 1] = ref
  t.sums.pending = t.sums.pending + 1
  t.sums.bytes = t.sums.bytes + tonumber(request_bytes)
  if is_accepted then t.accepted = t.accepted + 1 end
end

-- Returns the collected index entries (by createdAt) and durations of one kind of end. Most calls of a group end in the
-- same way as the one before.
local function kind_in(t, ends)
  local k = t.kind
  if k and k.status == ends.status and k.outcome == ends.outcome and k.state == ends.state and k.error == ends.error then
    return k
  end
  local name = kind_of(ends.state, ends.outcome, ends.status, ends.error)
  k = t.kinds[name] or { state = ends.state, outcome = ends.outcome, error = ends.error, index = {}, durations = {} }
  k.status = ends.status
  t.kinds[name], t.kind = k, k
  return k
end

-- Notes that a record is final. `named` is the tally under which metrics count its webhook.
local function tally_end(t, r, ends, bytes, named)
  local k = kind_in(t, ends)
  local index, durations = k.index, (named == t and k or kind_in(named, ends)).durations
  index[#index + 1] = r.createdAt
  index[#index + 1] = r.ref
  durations[#durations + 1] = now - tonumber(r.createdAt)
  t.sums.pending = t.sums.pending - 1
  t.sums.bytes = t.sums.bytes - bytes
end

local function write_ends(t, note)
  for kind, k in pairs(t.kinds) do
    if k.index[1] then
      redis.call('SADD', KEY.kinds(t.plugin), kind)
      in_pieces('ZADD', KEY.ends(t.plugin, kind), k.index, 2)
    end
    if k.durations[1] then
      note[#note + 1] = kind .. '=' .. table.concat(k.durations, ',')
      sum_count(t.sums, k.state, #k.durations)
    end
  end
end

local function write_tally(t)
  if t.created[1] then
    in_pieces('ZADD', KEY.plugin_index(t.plugin), t.created, 2)
    in_pieces('ZADD', KEY.webhook_index(t.plugin, t.webhook), t.created, 2)
  end
  if t.opened[1] then
    in_pieces('ZADD', KEY.open(t.plugin, t.webhook), t.opened, 2)
    redis.call('ZADD', KEY.ages(), 'LT', int(t.first_end), t.name)
  end
  if t.closed[1] then in_pieces('ZREM', KEY.open(t.plugin, t.webhook), t.closed, 1) end
  local note = { now_text, t.webhook, t.accepted }
  write_ends(t, note)
  if t.accepted > 0 then sum_count(t.sums, 'accepted', t.accepted) end
  if t.accepted > 0 or note[4] then redis.call('RPUSH', KEY.notes(t.plugin), table.concat(note, ' ')) end
end

-- Writes all tallies; called before `effects_flush`, which writes the plugins' sums.
local function tallies_flush()
  for _, t in pairs(tallies) do write_tally(t) end
end
