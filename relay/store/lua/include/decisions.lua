-- decisions: adds to a root's chain what was decided about its subjects (form and MACs: relay/store/decisions/decisions.py).
--
-- list: the chain's key. at: the index in ARGV of how many entries the chain had when the caller read it; there follow
-- the last of them ('' for none), and the entries to add, up to the end of ARGV.

-- Returns whether the chain is as the caller read it, or ends with the caller's entries already.
local function may_decide(list, at)
  local last = redis.call('LINDEX', list, -1) or ''
  return last == ARGV[#ARGV] or (last == ARGV[at + 1] and redis.call('LLEN', list) == tonumber(ARGV[at]))
end

-- Adds the entries, unless they are there already. Called after all other writes: a run that is stopped before it can be
-- repeated.
local function decide(list, at)
  if (redis.call('LINDEX', list, -1) or '') == ARGV[#ARGV] then return end
  for first = at + 2, #ARGV, 1000 do -- that many in one command
    redis.call('RPUSH', list, unpack(ARGV, first, math.min(first + 999, #ARGV)))
  end
end
