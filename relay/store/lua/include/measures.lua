-- measures: notes what happened to invocations, for metrics and statistics.
--
-- A note is a line: now, webhook ('-': named by a caller, but not registered), how many were accepted, and of each kind of
-- end `kind=duration,duration,...` in ms since acceptance. Notes are counted later, many at a time (relay/store/measures.py):
-- to count here would cost each script a fifth of its time.
-- needs: clock

local measured = {} -- plugin -> webhook -> {accepted, ends: kind -> durations}

local function measured_of(plugin, webhook)
  local of_plugin = measured[plugin]
  if not of_plugin then
    of_plugin = {}
    measured[plugin] = of_plugin
  end
  local m = of_plugin[webhook]
  if not m then
    m = { accepted = 0, ends = {} }
    of_plugin[webhook] = m
  end
  return m
end

local function measure_accepted(plugin, webhook)
  local m = measured_of(plugin, webhook)
  m.accepted = m.accepted + 1
end

local function measure_end(plugin, webhook, kind, duration)
  local ends = measured_of(plugin, webhook).ends
  local durations = ends[kind]
  if durations then durations[#durations + 1] = duration else ends[kind] = { duration } end
end

local function measures_flush()
  for plugin, webhooks_of in pairs(measured) do
    for webhook, m in pairs(webhooks_of) do
      local note = { now_text, webhook, m.accepted }
      for kind, durations in pairs(m.ends) do note[#note + 1] = kind .. '=' .. table.concat(durations, ',') end
      redis.call('RPUSH', KEY.notes(plugin), table.concat(note, ' '))
    end
  end
end
