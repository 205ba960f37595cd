-- fields: reads fields of records, each by its type. A number with other characters, and a lane that does not exist,
-- count as missing, and a record of another type as gone, so that no script stops at a damaged record.

local constants = require('constants')
local damage = require('damage')
local KEY = require('keys')
local numbers = require('numbers')

local fields = {}

local IS_NUMBER = {
  createdAt = true, deadline = true, endBy = true, expiresAt = true, finishedAt = true, forgottenAt = true,
  keptBytes = true, leaseEnd = true, losses = true, masked = true, notBefore = true, open = true, parentItem = true,
  parentStep = true, pause = true, readyAt = true, requestBytes = true, responseBytes = true, revision = true,
  status = true, step = true, timeout = true,
}
-- What replaces a damaged number that every record has, except createdAt, which is in the id.
local DAMAGED = { requestBytes = '0', timeout = '0' }

-- Returns these fields of an invocation's record as they are; none if the key is of another type.
function fields.read(run, ref, ...)
  local f = redis.pcall('HMGET', KEY.record(run, ref), ...)
  if f.err and not damage.is_damage(f) then error(f) end
  return f
end

-- Returns a field's value; nothing if it is missing.
local function readable(ref, field, value, exists)
  if field == 'lane' then return constants.IS_LANE[value] and value or exists and constants.LAST_LANE end
  if not IS_NUMBER[field] then return value end
  return numbers.whole(value) or exists and (DAMAGED[field] or field == 'createdAt' and numbers.created_of(ref))
end

-- Returns a function of run and reference id that returns these fields, '' for a missing one, and `ref`, as a table;
-- nothing if the record is gone. The first field has to be `state`, which every record has.
function fields.record(...)
  local names = { ... }
  return function(run, ref)
    local f = fields.read(run, ref, unpack(names))
    if not f[1] then return nil end
    local r = { ref = ref }
    for index, name in ipairs(names) do r[name] = readable(ref, name, f[index], true) or '' end
    return r
  end
end

-- Returns a function of run and reference id that returns the values of these fields, false for a missing one.
function fields.values(...)
  local names = { ... }
  return function(run, ref)
    local f = fields.read(run, ref, unpack(names))
    local values = {}
    for index, name in ipairs(names) do values[index] = readable(ref, name, f[index], f[1]) or false end
    return unpack(values)
  end
end

return fields
