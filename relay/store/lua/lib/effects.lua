-- effects: collects writes while a script works through its ids, and makes them together at the end.
-- The sorted-set and counter writes of a whole group become one command each; notices become one message per process.

local KEY = require('keys')
local int = require('numbers').int

local effects = {}

-- Returns the lists of what is written at the end: by lane, `off`, `queued_off` and `queued_at`; `running_at`,
-- `callbacks`; and by process, `notices`.
function effects.of(run)
  if not run.effects then
    run.effects = { off = {}, running_at = {}, queued_off = {}, queued_at = {}, callbacks = {}, notices = {} }
  end
  return run.effects
end

-- Returns the sums to add to a plugin's counters: pending calls and bytes, bytes of final records' contents, events.
function effects.sums_of(run, plugin)
  local sums = run.plugins[plugin]
  if not sums then
    sums = { pending = 0, bytes = 0, kept = 0, counts = {} }
    run.plugins[plugin] = sums
  end
  return sums
end

function effects.sum_count(sums, name, by)
  sums.counts[name] = (sums.counts[name] or 0) + by
end

-- Adds to the bytes of contents that a plugin's final records keep; negative for contents that were dropped.
function effects.sum_kept(run, plugin, bytes)
  local sums = effects.sums_of(run, plugin)
  sums.kept = sums.kept + bytes
end

-- Notes that this end has a callback to be sent by the next sweep.
function effects.add_callback(run, ref)
  local callbacks = effects.of(run).callbacks
  callbacks[#callbacks + 1] = run.now_text
  callbacks[#callbacks + 1] = ref
end

-- Adds an entry to the notice for each process in `waiters` (comma-separated).
function effects.add_notice(run, waiters, entry)
  local notices = effects.of(run).notices
  for process in string.gmatch(waiters, '[^,]+') do
    local entries = notices[process] or {}
    entries[#entries + 1] = entry
    notices[process] = entries
  end
end

-- Runs a command over a long list, `stride` values per member, in pieces that unpack() can handle; returns the sum of
-- the replies.
function effects.in_pieces(command, key, list, stride)
  local piece, sum = 1000 * stride, 0
  for first = 1, #list, piece do
    sum = sum + redis.call(command, key, unpack(list, first, math.min(first + piece - 1, #list)))
  end
  return sum
end

local function alarms_flush(run, lists)
  local running = KEY.due_running(run)
  for lane, refs in pairs(lists.off) do -- each id has one alarm
    if effects.in_pieces('ZREM', running, refs, 1) < #refs then
      effects.in_pieces('ZREM', KEY.due_queued(run, lane), refs, 1)
    end
  end
  effects.in_pieces('ZADD', running, lists.running_at, 2)
  for lane, refs in pairs(lists.queued_off) do effects.in_pieces('ZREM', KEY.due_queued(run, lane), refs, 1) end
  for lane, moves in pairs(lists.queued_at) do effects.in_pieces('ZADD', KEY.due_queued(run, lane), moves, 2) end
end

local function sums_flush(run)
  local pending, bytes = 0, 0
  for plugin, sums in pairs(run.plugins) do
    if sums.pending ~= 0 then redis.call('INCRBY', KEY.plugin_pending(run, plugin), int(sums.pending)) end
    if sums.bytes ~= 0 then redis.call('HINCRBY', KEY.plugin_bytes(run, plugin), 'pending', int(sums.bytes)) end
    if sums.kept ~= 0 then redis.call('HINCRBY', KEY.plugin_bytes(run, plugin), 'kept', int(sums.kept)) end
    for name, count in pairs(sums.counts) do redis.call('HINCRBY', KEY.plugin_counts(run, plugin), name, int(count)) end
    pending, bytes = pending + sums.pending, bytes + sums.bytes
  end
  if pending ~= 0 then redis.call('HINCRBY', KEY.pending(run), 'count', int(pending)) end
  if bytes ~= 0 then redis.call('HINCRBY', KEY.pending(run), 'bytes', int(bytes)) end
end

function effects.flush(run)
  local lists = effects.of(run)
  alarms_flush(run, lists)
  effects.in_pieces('ZADD', KEY.callbacks(run), lists.callbacks, 2)
  sums_flush(run)
  -- A notice is a hint: a server that refuses it must not stop a script halfway.
  for process, entries in pairs(lists.notices) do
    redis.pcall('PUBLISH', KEY.notice(run, process), table.concat(entries))
  end
end

return effects
