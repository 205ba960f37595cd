-- held: reads a replay job for its holder, renews its lease and ends its planning.

local jobs = require('jobs')
local KEY = require('keys')
local int = require('numbers').int

local held = {}

-- Returns the job; nothing unless it is in `state` (planning or running) and held by `token`.
function held.job(run, id, token, state)
  local f = redis.call('HMGET', KEY.replay(run, id), 'state', 'token', 'plugin', 'createdAt', 'uncertain', 'matched',
    'rate', 'tat', 'filter', 'position', 'max', 'caller', 'endedBy', 'planned')
  if f[1] ~= state or f[2] ~= token then return nil end
  return {
    id = id, plugin = f[3], created = tonumber(f[4]), uncertain = f[5] == '1', matched = tonumber(f[6] or ''),
    rate = tonumber(f[7] or ''), tat = tonumber(f[8] or '') or 0, filter = f[9], position = f[10] or '',
    max = tonumber(f[11] or '') or math.huge, caller = f[12], ended_by = tonumber(f[13]),
    planned = tonumber(f[14] or '') or 0, -- how many originals are known at this position
  }
end

function held.renew_lease(run, id, lease_ms)
  redis.call('HSET', KEY.replay(run, id), 'leaseEnd', int(run.now + lease_ms))
  jobs.set_alarm(run, id, run.now + lease_ms)
end

-- Ends the planning: all originals are known, and their number no longer changes.
function held.end_planning(run, job)
  job.matched = redis.call('LLEN', KEY.replay_ids(run, job.id))
  redis.call('HSET', KEY.replay(run, job.id), 'state', 'running', 'matched', int(job.matched))
  redis.call('DEL', KEY.replay_seen(run, job.id))
  jobs.may_end(run, job.id)
end

return held
