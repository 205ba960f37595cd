-- waiting: the lists of the calls that no worker has taken yet, one per lane, oldest first. A message only says that a
-- list is not empty: the call that finds it empty, and every GROUP_IDS-th call, cause one.

local constants = require('constants')
local KEY = require('keys')

local waiting = {}

-- Appends ids to a lane's list; puts messages into the lane, if the broker is this database. Returns how many messages
-- the caller has to publish.
function waiting.add(run, lane, refs, message)
  local count = 0
  for first = 1, #refs, 1000 do
    count = redis.call('RPUSH', KEY.waiting(run, lane), unpack(refs, first, math.min(first + 999, #refs)))
  end
  local messages = math.ceil(count / constants.GROUP_IDS) - math.ceil((count - #refs) / constants.GROUP_IDS)
  if message == '' then return messages end
  for _ = 1, messages do redis.call('LPUSH', lane, message) end
  return 0
end

return waiting
