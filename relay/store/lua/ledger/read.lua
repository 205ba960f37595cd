-- read: reads what a worker needs to prepare calls. Changes nothing.
--
-- kind: reads
-- KEYS  1 the root of the partition
-- ARGV  the reference ids
-- Returns a row per id, as include/rows.lua describes it
-- needs: rows

return rows_of(ARGV, math.huge)
