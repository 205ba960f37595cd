-- queue: appends ready calls to the lists of their lanes, for any worker to take.
--
-- kind: counts
-- KEYS  1 the root of the partition
-- ARGV  n times: lane, message ('' if the broker is not this database), k, k reference ids
-- Returns n times: lane, how many messages the caller has to publish
--
-- A repeated call adds the ids again; the claim decides which of two workers runs a call.
-- needs: waiting

local replies, at = {}, 1
while at <= #ARGV do
  local last = at + 2 + tonumber(ARGV[at + 2])
  replies[#replies + 1] = ARGV[at]
  replies[#replies + 1] = add_waiting(ARGV[at], { unpack(ARGV, at + 3, last) }, ARGV[at + 1])
  at = last + 1
end
return replies
