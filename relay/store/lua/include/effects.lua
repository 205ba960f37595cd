-- effects: collects writes while a script goes through its ids, and makes them together at the end.
-- The sorted-set and counter writes of a whole group become one command each; notices become one message per process.
-- needs: clock

local effects = { off = {}, running_at = {}, queued_off = {}, queued_at = {}, callbacks = {}, notices = {} }
local plugins = {} -- plugin -> its sums

-- Returns the sums to add to a plugin's counters: pending calls and bytes, bytes of final records' contents, events.
local function sums_of(plugin)
  local sums = plugins[plugin]
  if not sums then
    sums = { pending = 0, bytes = 0, kept = 0, counts = {} }
    plugins[plugin] = sums
  end
  return sums
end

local function sum_count(sums, name, by)
  sums.counts[name] = (sums.counts[name] or 0) + by
end

-- Adds to the bytes of contents that a plugin's final records keep; negative for contents that were dropped.
local function sum_kept(plugin, bytes)
  local sums = sums_of(plugin)
  sums.kept = sums.kept + bytes
end

-- Notes that this end has a callback to be sent; the next sweep does that.
local function effect_callback(ref)
  effects.callbacks[#effects.callbacks + 1] = int(now)
  effects.callbacks[#effects.callbacks + 1] = ref
end

-- Adds an entry to the notice for each process in `waiters` (comma-separated).
local function effect_notice(waiters, entry)
  for process in string.gmatch(waiters, '[^,]+') do
    local entries = effects.notices[process] or {}
    entries[#entries + 1] = entry
    effects.notices[process] = entries
  end
end

-- Runs a command over a long list, `stride` values per member, in pieces that unpack() can take; returns the sum of
-- the replies.
local function in_pieces(command, key, list, stride)
  local piece, sum = 1000 * stride, 0
  for first = 1, #list, piece do
    sum = sum + redis.call(command, key, unpack(list, first, math.min(first + piece - 1, #list)))
  end
  return sum
end

local function alarms_flush()
  local running = KEY.due_running()
  for lane, refs in pairs(effects.off) do -- each id has one alarm
    if in_pieces('ZREM', running, refs, 1) < #refs then in_pieces('ZREM', KEY.due_queued(lane), refs, 1) end
  end
  in_pieces('ZADD', running, effects.running_at, 2)
  for lane, refs in pairs(effects.queued_off) do in_pieces('ZREM', KEY.due_queued(lane), refs, 1) end
  for lane, moves in pairs(effects.queued_at) do in_pieces('ZADD', KEY.due_queued(lane), moves, 2) end
end

local function sums_flush()
  local pending, bytes = 0, 0
  for plugin, sums in pairs(plugins) do
    if sums.pending ~= 0 then redis.call('INCRBY', KEY.plugin_pending(plugin), int(sums.pending)) end
    if sums.bytes ~= 0 then redis.call('HINCRBY', KEY.plugin_bytes(plugin), 'pending', int(sums.bytes)) end
    if sums.kept ~= 0 then redis.call('HINCRBY', KEY.plugin_bytes(plugin), 'kept', int(sums.kept)) end
    for name, count in pairs(sums.counts) do redis.call('HINCRBY', KEY.plugin_counts(plugin), name, int(count)) end
    pending, bytes = pending + sums.pending, bytes + sums.bytes
  end
  if pending ~= 0 then redis.call('HINCRBY', KEY.pending(), 'count', int(pending)) end
  if bytes ~= 0 then redis.call('HINCRBY', KEY.pending(), 'bytes', int(bytes)) end
end

local function effects_flush()
  alarms_flush()
  in_pieces('ZADD', KEY.callbacks(), effects.callbacks, 2)
  sums_flush()
  -- A notice is a hint: a server that does not take it must not end a script half-way.
  for process, entries in pairs(effects.notices) do
    redis.pcall('PUBLISH', KEY.notice(process), table.concat(entries))
  end
end
