-- held: reads a replay job for its holder, renews its lease and ends its planning.
-- needs: clock, jobs

-- Returns the job; nothing unless it is in `state` (planning or running) and held by `token`.
local function held_job(id, token, state)
  local f = redis.call('HMGET', KEY.replay(id), 'state', 'token', 'plugin', 'createdAt', 'uncertain', 'matched', 'rate',
    'tat', 'filter', 'position', 'max', 'caller', 'endedBy', 'planned')
  if f[1] ~= state or f[2] ~= token then return nil end
  return {
    id = id, plugin = f[3], created = tonumber(f[4]), uncertain = f[5] == '1', matched = tonumber(f[6] or ''),
    rate = tonumber(f[7] or ''), tat = tonumber(f[8] or '') or 0, filter = f[9], position = f[10] or '',
    max = tonumber(f[11] or '') or math.huge, caller = f[12], ended_by = tonumber(f[13]),
    planned = tonumber(f[14] or '') or 0, -- how many originals are known at this position
  }
end

local function renew_lease(id, lease_ms)
  redis.call('HSET', KEY.replay(id), 'leaseEnd', int(now + lease_ms))
  job_alarm(id, now + lease_ms)
end

-- Ends the planning: all originals are known, and their number no longer changes.
local function end_planning(job)
  job.matched = redis.call('LLEN', KEY.replay_ids(job.id))
  redis.call('HSET', KEY.replay(job.id), 'state', 'running', 'matched', int(job.matched))
  redis.call('DEL', KEY.replay_seen(job.id))
  job_may_end(job.id)
end
