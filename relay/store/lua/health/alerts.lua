-- alerts: compares the conditions that hold now with those that held before, and notes each change once.
--
-- kind: counts
-- KEYS  1 the root of the partition
-- ARGV  1 the plugin whose webhook is called  2 n, then n times: name, '1' if it holds, '0' if not, '' if that is not
--       known, hold_ms (how long it has to hold before it fires), detail (JSON)
-- Returns the changes not delivered yet: id, JSON {name, state: firing or over, at, since, detail}, id, ...
--
-- Idempotent: an unchanged condition changes nothing. A condition that is not named no longer holds; one that is not
-- known stays as it was.
-- needs: clock

local named, plugin = {}, ARGV[1]

local function write(name, phase, since, detail)
  redis.call('HSET', KEY.alerts(plugin), name, cjson.encode({ phase = phase, since = int(since), detail = detail }))
end

local function note_change(name, state, since, detail)
  local change = { name = name, state = state, at = int(now), since = int(since), detail = detail }
  redis.call('HSET', KEY.pending_alerts(plugin), name .. ' ' .. state .. ' ' .. int(now), cjson.encode(change))
end

local function fire(name, detail)
  write(name, 'firing', now, detail)
  note_change(name, 'firing', now, detail)
end

local function evaluate(name, holds, hold, detail)
  local text = redis.call('HGET', KEY.alerts(plugin), name)
  local before = text and cjson.decode(text)
  if holds and (not before or (before.phase == 'waiting' and tonumber(before.since) > now)) then -- the clock went back
    if hold == 0 then fire(name, detail) else write(name, 'waiting', now, detail) end
  elseif holds and before.phase == 'waiting' then
    if now - tonumber(before.since) >= hold then fire(name, detail) end
  elseif not holds and before then
    redis.call('HDEL', KEY.alerts(plugin), name)
    if before.phase == 'firing' then note_change(name, 'over', tonumber(before.since), before.detail) end
  end
end

for index = 1, tonumber(ARGV[2]) do
  local at = 4 * index - 1
  named[ARGV[at]] = true
  if ARGV[at + 1] ~= '' then evaluate(ARGV[at], ARGV[at + 1] == '1', tonumber(ARGV[at + 2]), ARGV[at + 3]) end
end
for _, name in ipairs(redis.call('HKEYS', KEY.alerts(plugin))) do
  if not named[name] then evaluate(name, false, 0, '') end
end
return redis.call('HGETALL', KEY.pending_alerts(plugin))
