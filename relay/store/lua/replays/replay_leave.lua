-- replay_leave: lets the holder of a job give it up.
--
-- kind: counts
-- KEYS  1 the root of the partition
-- ARGV  1 replay id  2 token  3 grace_ms  4 after_ms: how long until it is looked at again; '0': at once
-- Returns ready: the job and its lane, if after_ms is '0'
-- needs: jobs, ready

local id, after = ARGV[1], tonumber(ARGV[4])
grace_from(3)
if redis.call('HGET', KEY.replay(id), 'token') ~= ARGV[2] then return ready end
if job_state(id) ~= 'running' and job_state(id) ~= 'planning' then return ready end
job_leave(id, after)
if after == 0 then job_wake(id) end
return ready
