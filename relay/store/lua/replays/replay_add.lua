-- replay_add: adds a piece of the originals that were given by hand; each id counts once.
--
-- KEYS  1 the root of the partition
-- ARGV  1 replay id  2 token  3 lease_ms  4 number of the piece, from 0  5 last ('1': there are no more)  6... ids
-- Returns {state of the job, or 'late', how many originals it has}
--
-- Idempotent: a piece is not added twice.

local held = require('held')
local jobs = require('jobs')
local KEY = require('keys')
local int = require('numbers').int

local function main(run)
  local id = run.args[1]
  local job = held.job(run, id, run.args[2], 'planning')
  if not job then
    return { jobs.state_of(run, id) == 'running' and 'running' or 'late', redis.call('LLEN', KEY.replay_ids(run, id)) }
  end
  local ids, seen = KEY.replay_ids(run, id), KEY.replay_seen(run, id)
  if (tonumber(job.position) or 0) == tonumber(run.args[4]) then
    for index = 6, #run.args do
      local ref = run.args[index]
      if redis.call('LLEN', ids) >= job.max then break end
      if redis.call('SISMEMBER', seen, ref) == 0 then
        if redis.call('LINDEX', ids, 0) ~= ref then redis.call('LPUSH', ids, ref) end -- unless a stopped run has
        redis.call('SADD', seen, ref)
      end
    end
    redis.call('HSET', KEY.replay(run, id), 'position', int(tonumber(run.args[4]) + 1))
  end
  held.renew_lease(run, id, tonumber(run.args[3]))
  if run.args[5] == '1' then held.end_planning(run, job) end
  return { redis.call('HGET', KEY.replay(run, id), 'state'), redis.call('LLEN', ids) }
end

return { kind = 'confirms', is_fenced = true, run = main }
