-- read: what a worker needs to prepare calls; changes nothing.
--
-- KEYS  1 the root of the partition
-- ARGV  the reference ids
-- Returns a row per id, as rows says
-- needs: rows

local replies = {}
for index, ref in ipairs(ARGV) do replies[index] = row_of(ref) end
return replies
