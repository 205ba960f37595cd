-- alerts: compares the conditions that hold now with those that held before, and records each change once.
--
-- KEYS  1 the root of the partition
-- ARGV  1 the plugin whose webhook is called  2 n, then n times: name, '1' if it holds, '0' if not, '' if that is not
--       known, hold_ms (how long it has to hold before it fires), detail (JSON)
-- Returns the changes not delivered yet: id, JSON {name, state: firing or over, at, since, detail}, id, ...
--
-- Idempotent: an unchanged condition changes nothing. A condition that is not named no longer holds; one that is not
-- known stays as it was.

local KEY = require('keys')
local int = require('numbers').int

local function write(run, name, phase, since, detail)
  local alert = cjson.encode({ phase = phase, since = int(since), detail = detail })
  redis.call('HSET', KEY.alerts(run, run.plugin), name, alert)
end

local function note_change(run, name, state, since, detail)
  local change = { name = name, state = state, at = run.now_text, since = int(since), detail = detail }
  redis.call('HSET', KEY.pending_alerts(run, run.plugin), name .. ' ' .. state .. ' ' .. run.now_text, cjson.encode(change))
end

local function fire(run, name, detail)
  write(run, name, 'firing', run.now, detail)
  note_change(run, name, 'firing', run.now, detail)
end

local function evaluate(run, name, holds, hold, detail)
  local text = redis.call('HGET', KEY.alerts(run, run.plugin), name)
  local before = text and cjson.decode(text)
  if holds and (not before or (before.phase == 'waiting' and tonumber(before.since) > run.now)) then -- the clock went back
    if hold == 0 then fire(run, name, detail) else write(run, name, 'waiting', run.now, detail) end
  elseif holds and before.phase == 'waiting' then
    if run.now - tonumber(before.since) >= hold then fire(run, name, detail) end
  elseif not holds and before then
    redis.call('HDEL', KEY.alerts(run, run.plugin), name)
    if before.phase == 'firing' then note_change(run, name, 'over', tonumber(before.since), before.detail) end
  end
end

local function main(run)
  local named = {}
  run.plugin = run.args[1]

  for index = 1, tonumber(run.args[2]) do
    local at = 4 * index - 1
    named[run.args[at]] = true
    if run.args[at + 1] ~= '' then
      evaluate(run, run.args[at], run.args[at + 1] == '1', tonumber(run.args[at + 2]), run.args[at + 3])
    end
  end
  for _, name in ipairs(redis.call('HKEYS', KEY.alerts(run, run.plugin))) do
    if not named[name] then evaluate(run, name, false, 0, '') end
  end
  return redis.call('HGETALL', KEY.pending_alerts(run, run.plugin))
end

return { kind = 'counts', run = main }
