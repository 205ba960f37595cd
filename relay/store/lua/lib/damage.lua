-- damage: lets a script continue with other records if one is damaged.

local damage = {}

-- Returns whether an error comes from a damaged value.
function damage.is_damage(err)
  if type(err) ~= 'table' then return true end
  local text = err.err or ''
  return string.find(text, 'WRONGTYPE', 1, true) or string.find(text, 'is not an integer', 1, true)
    or string.find(text, 'not a valid float', 1, true)
end

-- Calls a function; returns whether it completed, and up to two results. Errors that do not come from damaged values
-- are raised.
function damage.try(act, ...)
  local is_whole, one, other = pcall(act, ...)
  if not is_whole and not damage.is_damage(one) then error(one) end
  return is_whole, one, other
end

return damage
