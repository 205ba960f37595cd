-- rates: keeps a rate as the time until which it is used up (GCRA, the generic cell rate algorithm). Each call moves
-- the time on by `every`, and `burst` calls may come at once. All times have the same unit, whichever it is.

local rates = {}

-- Returns that time as of `at`, given its last value: at most one burst of unused calls is saved up. If it is further
-- ahead than `ahead`, the clock has gone back since, and the rate counts as unused.
function rates.time(time, at, every, burst, ahead)
  local unused = at - burst * every
  return time > at + ahead and unused or math.max(time, unused)
end

-- Returns how many calls may come at `at`, given that time as of `at`; adds a tiny amount against rounding errors.
function rates.capacity(time, at, every)
  return math.floor((at - time) / every + 0.000001)
end

return rates
