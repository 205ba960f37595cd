-- callbacks: hands finished calls with due callbacks to a worker, which deletes them once it has sent these.
--
-- kind: counts
-- KEYS  1 the root of the partition
-- ARGV  1 hold_ms: how long no other worker gets these  2 limit  3 pass ('1': the command that ends a restore; others
--       get none while the partition is fenced)
-- Returns n times {ref, plugin, callback, state, status, error, finishedAt, webhook, revision}
-- needs: clock, record
-- record read_end: state plugin callback status error finishedAt webhook revision

if ARGV[3] ~= '1' and redis.call('HGET', KEY.pending(), 'fence') then return {} end
local hold, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local rows = {}

-- Hands out the ends whose time is between two.
local function hand_out(first, last)
  for _, ref in ipairs(redis.call('ZRANGEBYSCORE', KEY.callbacks(), first, last, 'LIMIT', 0, limit - #rows)) do
    local r = read_end(ref)
    if r and r.callback ~= '' and FINAL[r.state] then
      redis.call('ZADD', KEY.callbacks(), int(now + hold), ref)
      rows[#rows + 1] = { ref, r.plugin, r.callback, r.state, r.status, r.error, r.finishedAt, r.webhook, r.revision }
    else -- deleted in the meantime
      redis.call('ZREM', KEY.callbacks(), ref)
    end
  end
end

hand_out('-inf', int(now))
hand_out('(' .. int(now + hold), '+inf') -- further ahead than any hold: the clock has gone back
return rows
