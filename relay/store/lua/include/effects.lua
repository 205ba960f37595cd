-- effects: what a script collects while it walks its ids and writes once at its end.
-- Sorted-set and counter writes of a whole group become one command each; notices one message a process.
-- needs: clock

local effects = { running_off = {}, running_at = {}, queued_off = {}, queued_at = {}, expiry = {}, pending = 0, bytes = 0,
  plugins = {}, plugin_bytes = {}, kept = {}, counts = {}, notices = {}, indexed = {},
  opened = {}, closed = {}, ages = {}, callbacks = {} }

local function effect_pending(plugin, count, bytes)
  effects.pending = effects.pending + count
  effects.bytes = effects.bytes + bytes
  effects.plugins[plugin] = (effects.plugins[plugin] or 0) + count
  effects.plugin_bytes[plugin] = (effects.plugin_bytes[plugin] or 0) + bytes
end

-- Contents of final records that are kept, or kept no longer.
local function effect_kept(plugin, bytes)
  effects.kept[plugin] = (effects.kept[plugin] or 0) + bytes
end

local function effect_count(plugin, name, by)
  local counts = effects.counts[plugin] or {}
  counts[name] = (counts[name] or 0) + (by or 1)
  effects.counts[plugin] = counts
end

-- An id's place in an index, all of which are by createdAt.
local function effect_index(key, created, ref)
  local index = effects.indexed[key]
  if not index then
    index = {}
    effects.indexed[key] = index
  end
  index[#index + 1] = created
  index[#index + 1] = ref
end

-- A call is not final, and has to end by `at`.
local function effect_open(plugin, webhook, ref, at)
  local key = KEY.open(plugin, webhook)
  local opened = effects.opened[key] or {}
  opened[#opened + 1] = int(at)
  opened[#opened + 1] = ref
  effects.opened[key] = opened
  local name = plugin .. '/' .. webhook
  effects.ages[name] = math.min(effects.ages[name] or at, at)
end

local function effect_close(plugin, webhook, ref)
  local key = KEY.open(plugin, webhook)
  local closed = effects.closed[key] or {}
  closed[#closed + 1] = ref
  effects.closed[key] = closed
end

-- Another webhook is to be told of this end, by whichever worker sees to callbacks next.
local function effect_callback(ref)
  effects.callbacks[#effects.callbacks + 1] = int(now)
  effects.callbacks[#effects.callbacks + 1] = ref
end

-- Adds one entry to what each process in `waiters` (comma-separated) is told.
local function effect_notice(waiters, entry)
  for process in string.gmatch(waiters, '[^,]+') do
    local entries = effects.notices[process] or {}
    entries[#entries + 1] = entry
    effects.notices[process] = entries
  end
end

-- Runs a command over a long list, `stride` values a member, in pieces that unpack() can take.
local function in_pieces(command, key, list, stride)
  local piece = 1000 * stride
  for first = 1, #list, piece do
    redis.call(command, key, unpack(list, first, math.min(first + piece - 1, #list)))
  end
end

local function effects_flush()
  in_pieces('ZREM', KEY.due_running(), effects.running_off, 1)
  in_pieces('ZADD', KEY.due_running(), effects.running_at, 2)
  for lane, refs in pairs(effects.queued_off) do in_pieces('ZREM', KEY.due_queued(lane), refs, 1) end
  for lane, moves in pairs(effects.queued_at) do in_pieces('ZADD', KEY.due_queued(lane), moves, 2) end
  in_pieces('ZADD', KEY.expiry(), effects.expiry, 2)
  in_pieces('ZADD', KEY.callbacks(), effects.callbacks, 2)
  for key, opened in pairs(effects.opened) do in_pieces('ZADD', key, opened, 2) end
  for key, closed in pairs(effects.closed) do in_pieces('ZREM', key, closed, 1) end
  for name, at in pairs(effects.ages) do redis.call('ZADD', KEY.ages(), 'LT', int(at), name) end
  for key, index in pairs(effects.indexed) do in_pieces('ZADD', key, index, 2) end
  if effects.pending ~= 0 then redis.call('HINCRBY', KEY.pending(), 'count', int(effects.pending)) end
  if effects.bytes ~= 0 then redis.call('HINCRBY', KEY.pending(), 'bytes', int(effects.bytes)) end
  for plugin, count in pairs(effects.plugins) do
    if count ~= 0 then redis.call('INCRBY', KEY.plugin_pending(plugin), int(count)) end
  end
  for plugin, bytes in pairs(effects.plugin_bytes) do
    if bytes ~= 0 then redis.call('HINCRBY', KEY.plugin_bytes(plugin), 'pending', int(bytes)) end
  end
  for plugin, bytes in pairs(effects.kept) do
    if bytes ~= 0 then redis.call('HINCRBY', KEY.plugin_bytes(plugin), 'kept', int(bytes)) end
  end
  for plugin, counts in pairs(effects.counts) do
    for name, count in pairs(counts) do
      redis.call('HINCRBY', KEY.plugin_counts(plugin), name, int(count))
    end
  end
  -- A notice is a hint: a server that does not take it must not end a script half-way.
  for process, entries in pairs(effects.notices) do
    redis.pcall('PUBLISH', KEY.notice(process), table.concat(entries))
  end
end
