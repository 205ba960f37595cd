-- ended: tells which invocations are final, so that what a notice says is on replicas before a caller gets it.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  the reference ids
-- Returns 1 for each that is final, 0 for any other
-- values read_finished: finishedAt

local replies = {}
for index, ref in ipairs(ARGV) do replies[index] = read_finished(ref) and 1 or 0 end
return replies
