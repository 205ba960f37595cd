-- ended: tells which invocations are final; its caller waits for replicas before it passes on what a notice says.
--
-- KEYS  1 the root of the partition
-- ARGV  the reference ids
-- Returns 1 for each that is final, 0 for any other

local fields = require('fields')


local read_finished = fields.values('finishedAt')

local function main(run)
  local replies = {}
  for index, ref in ipairs(run.args) do replies[index] = read_finished(run, ref) and 1 or 0 end
  return replies
end

return { kind = 'confirms', run = main }
