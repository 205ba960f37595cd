-- rates: keeps a rate as one time, until which it is used up (GCRA, the generic cell rate algorithm). Each call moves
-- the time on by `every`, and `burst` calls may come at once. All times have the same unit, whichever that is.

-- Returns that time as of `at`, given its last value: unused calls are saved up only as far as one burst.
local function rate_time(time, at, every, burst)
  return math.max(time, at - burst * every)
end

-- Returns how many calls may come at `at`, plus a tiny amount against rounding errors.
local function rate_room(time, at, every, burst)
  return math.floor((at - rate_time(time, at, every, burst)) / every + 0.000001)
end
