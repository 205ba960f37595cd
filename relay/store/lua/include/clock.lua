-- clock: the server's time, and numbers as text. Every script that keeps time needs it; workers' and callers' clocks never
-- count.

-- The script's one moment: milliseconds since the epoch, an integer below 2^53 (exact in a Lua number).
local server_time = redis.call('TIME')
local now = tonumber(server_time[1]) * 1000 + math.floor(tonumber(server_time[2]) / 1000)

local integers = {} -- as text: most are the same few times for all ids of a group

-- Integers as text: tostring() would write large ones as 1.7e+12.
local function int(value)
  local text = integers[value]
  if not text then
    text = string.format('%.0f', value)
    integers[value] = text
  end
  return text
end

local now_text = int(now)

-- A number from text; none is 0.
local function number(text)
  if not text or text == '' then return 0 end
  return tonumber(text) or 0
end
