-- rates: a rate as one time, up to which it is used up (GCRA, the generic cell rate algorithm): each call moves it on by
-- `every`, and `burst` calls may come at once. Times and `every` are of one unit, whichever.

-- Where that time stands at `at`, given where it stood last: beyond a burst nothing is saved up.
local function rate_time(time, at, every, burst)
  return math.max(time, at - burst * every)
end

-- How many calls may come at `at`; a hair's breadth more than rounding takes away.
local function rate_room(time, at, every, burst)
  return math.floor((at - rate_time(time, at, every, burst)) / every + 0.000001)
end
