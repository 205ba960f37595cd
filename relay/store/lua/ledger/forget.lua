-- forget: destroys the payload and result of an invocation, and those of a chain's steps; the rest of the records
-- stays.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 reference id  2 actor
-- Returns forgotten, unknown, or unfinished (nothing was destroyed then: it, a step of it, or its chain is not final)
--
-- Idempotent except for the audit entry: a forgotten invocation keeps the time at which it was first forgotten.
-- needs: audit, contents, effects, record
-- record read_contents: state plugin keptBytes webhook parent

-- Returns the ids of an invocation, its steps and their steps; nothing if one of them is not final.
local function family_of(ref, refs)
  local r = read_contents(ref)
  if r and not FINAL[r.state] then return nil end
  table.insert(refs, ref)
  for _, step in ipairs(redis.call('LRANGE', KEY.steps(ref), 0, -1)) do
    if not family_of(step, refs) then return nil end
  end
  return refs
end

local asked = read_contents(ARGV[1])
if not asked then return 'unknown' end
local is_needed = asked.parent ~= '' and not is_over(asked.parent) -- by the chain that it is a step of
local refs = not is_needed and family_of(ARGV[1], {})
audit('forget', ARGV[2], asked.plugin, asked.webhook, '', refs and 'forgotten' or 'conflict', '', '', ARGV[1])
if not refs then return 'unfinished' end
for _, ref in ipairs(refs) do
  forget_contents(ref, read_contents(ref))
end
effects_flush()
return 'forgotten'
