-- clock: the server's time, and numbers as text. Scripts use the server's clock only, never a worker's or a caller's.

-- The time of the whole script, in milliseconds since the epoch: an integer below 2^53, exact in a Lua number.
local server_time = redis.call('TIME')
local now = tonumber(server_time[1]) * 1000 + math.floor(tonumber(server_time[2]) / 1000)

local integers = {} -- cache of their texts: the ids of a group share a few times

-- Returns an integer as text; tostring() would write large ones as 1.7e+12.
local function int(value)
  local text = integers[value]
  if not text then
    text = string.format('%.0f', value)
    integers[value] = text
  end
  return text
end

local now_text = int(now)

-- Returns a time that was kept; now if it is further ahead than the `ahead` ms that whoever wrote it can have meant: then
-- the clock has gone back since.
local function within(time, ahead)
  return time > now + ahead + UNNOTICED and now or time
end

-- Returns a number from text; 0 if there is none.
local function number(text)
  if not text or text == '' then return 0 end
  return tonumber(text) or 0
end
