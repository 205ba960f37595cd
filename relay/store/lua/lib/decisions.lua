-- decisions: adds to a root's chain what was decided about its subjects (form and MACs:
-- relay/store/decisions/decisions.py).
--
-- list: the chain's key. at: the index of the argument that says how many entries the chain had when the caller read
-- it; after it come the last of them ('' for none), and the entries to add, up to the last argument.

local audit = require('audit')

local decisions = {}

-- Returns the last entry and how many there are; '' and 0 for a key of another type.
local function end_of(list)
  if redis.call('TYPE', list).ok ~= 'list' then return '', 0 end
  return redis.call('LINDEX', list, -1), redis.call('LLEN', list)
end

-- Returns whether the chain is as the caller read it, or already ends with the caller's entries.
function decisions.may_add(run, list, at)
  local last, count = end_of(list)
  return last == run.args[#run.args] or (last == run.args[at + 1] and count == tonumber(run.args[at]))
end

-- Adds the entries, unless they are there already. To be called after all other writes, so that a run that is stopped
-- before can be repeated.
function decisions.add(run, list, at)
  local last, count = end_of(list)
  if last == run.args[#run.args] then return end
  if count == 0 then redis.call('DEL', list) end -- of another type
  for first = at + 2, #run.args, 1000 do -- that many in one command
    redis.call('RPUSH', list, unpack(run.args, first, math.min(first + 999, #run.args)))
  end
end

-- Replaces the whole chain with the entries to add, unless it has changed since it was read. `act` is for the audit
-- trail ('' for none), `who` its actor. Returns 1, or 0 if nothing was done.
function decisions.replace(run, list, at, act, who)
  if not decisions.may_add(run, list, at) then return 0 end
  if act ~= '' then audit.add(run, act, who, '', '', '', 'restored', #run.args - at - 1, '', '') end
  redis.call('DEL', list)
  decisions.add(run, list, at)
  return 1
end

return decisions
