-- clock: the server's time. Included by every script that keeps time; workers' and callers' clocks never count.

-- Milliseconds since the epoch, an integer below 2^53 (exact in a Lua number).
local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Integers as text: tostring() would write large ones as 1.7e+12.
local function int(number)
  return string.format('%.0f', number)
end
