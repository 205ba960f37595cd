-- replay_plan: searches a piece of the records for a job's originals.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 replay id  2 token  3 lease_ms  4 records to examine
-- Returns {state of the job, or 'late', how many originals it has}
--
-- A repeated call continues from the job's position.
-- needs: clock, effects, filter, held, jobs, walk

local id, most = ARGV[1], tonumber(ARGV[4])
local job = held_job(id, ARGV[2], 'planning')
if not job then return { job_state(id) == 'running' and 'running' or 'late', redis.call('LLEN', KEY.replay_ids(id)) } end
local f = filter_from(job.filter, job.plugin)
f.endedBy = job.ended_by
f['until'] = math.min(f['until'] or job.ended_by, job.ended_by)

local position = position_from(job.position)
if f['until'] < position.created then position = { created = f['until'], ref = '~' } end
local walk, found, last = walk_from(narrowest(f), position, f.since or '-inf'), {}, nil
local count = job.planned
-- A run that was stopped may have left more than belong to the position.
if count == 0 then
  redis.call('DEL', KEY.replay_ids(id))
elseif redis.call('LLEN', KEY.replay_ids(id)) > count then
  redis.call('LTRIM', KEY.replay_ids(id), 0, count - 1)
end
for _ = 1, most do
  last = count + #found < job.max and walk_on(walk) or nil
  if not last then break end
  local r = read_listed(last.ref)
  if r and matches(f, r) then table.insert(found, last.ref) end
end
renew_lease(id, tonumber(ARGV[3]))
in_pieces('RPUSH', KEY.replay_ids(id), found, 1)
if last then
  redis.call('HSET', KEY.replay(id), 'position', position_text(last), 'planned', int(count + #found))
else
  end_planning(job)
end
return { redis.call('HGET', KEY.replay(id), 'state'), count + #found }
