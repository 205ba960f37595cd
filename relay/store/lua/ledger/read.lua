-- read: reads what a worker needs to prepare calls. Changes nothing.
--
-- KEYS  1 the root of the partition
-- ARGV  the reference ids
-- Returns a row per id, as lib/rows.lua describes it

local rows = require('rows')

local function main(run)
  return rows.of(run, run.args, math.huge)
end

return { kind = 'reads', run = main }
