-- replay_add: adds a piece of the originals that are given by hand; each id counts once.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 replay id  2 token  3 lease_ms  4 number of the piece, from 0  5 last ('1': there are no more)  6... ids
-- Returns {state of the job, or 'late', how many originals it has}
--
-- Idempotent: a piece is not added twice.
-- needs: clock, held, jobs

local id = ARGV[1]
local job = held_job(id, ARGV[2], 'planning')
if not job then return { job_state(id) == 'running' and 'running' or 'late', redis.call('LLEN', KEY.replay_ids(id)) } end
if (tonumber(job.position) or 0) == tonumber(ARGV[4]) then
  for index = 6, #ARGV do
    if redis.call('LLEN', KEY.replay_ids(id)) >= job.max then break end
    if redis.call('SADD', KEY.replay_seen(id), ARGV[index]) == 1 then
      redis.call('LPUSH', KEY.replay_ids(id), ARGV[index])
    end
  end
  redis.call('HSET', KEY.replay(id), 'position', int(tonumber(ARGV[4]) + 1))
end
renew_lease(id, tonumber(ARGV[3]))
if ARGV[5] == '1' then end_planning(job) end
return { redis.call('HGET', KEY.replay(id), 'state'), redis.call('LLEN', KEY.replay_ids(id)) }
