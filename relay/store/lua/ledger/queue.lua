-- queue: appends ready calls to the lists of their lanes, for any worker to take.
--
-- KEYS  1 the root of the partition
-- ARGV  n times: lane, message ('' if the broker is not this database), k, k reference ids
-- Returns n times: lane, how many messages the caller has to publish
--
-- A repeated call adds the ids again; the claim decides which of two workers runs a call.

local waiting = require('waiting')

local function main(run)
  local replies, at = {}, 1
  while at <= #run.args do
    local last = at + 2 + tonumber(run.args[at + 2])
    replies[#replies + 1] = run.args[at]
    replies[#replies + 1] = waiting.add(run, run.args[at], { unpack(run.args, at + 3, last) }, run.args[at + 1])
    at = last + 1
  end
  return replies
end

return { kind = 'counts', run = main }
