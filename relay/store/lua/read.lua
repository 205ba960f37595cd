-- read: what a worker needs to prepare calls; changes nothing.
--
-- KEYS  1 the root of the partition
-- ARGV  the reference ids
-- Returns a row per id, as rows says
-- needs: rows

return rows_of(ARGV, math.huge)
