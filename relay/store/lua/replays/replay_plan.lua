-- replay_plan: searches a piece of the records for a job's originals.
--
-- KEYS  1 the root of the partition
-- ARGV  1 replay id  2 token  3 lease_ms  4 records to examine
-- Returns {state of the job, or 'late', how many originals it has}
--
-- A repeated call continues from the job's position.

local effects = require('effects')
local filter = require('filter')
local held = require('held')
local jobs = require('jobs')
local KEY = require('keys')
local int = require('numbers').int
local originals = require('originals')
local walks = require('walks')

local function main(run)
  local id, most = run.args[1], tonumber(run.args[4])
  local job = held.job(run, id, run.args[2], 'planning')
  if not job then
    return { jobs.state_of(run, id) == 'running' and 'running' or 'late', redis.call('LLEN', KEY.replay_ids(run, id)) }
  end
  local f = filter.from(job.filter, job.plugin)
  f.endedBy = job.ended_by
  f['until'] = math.min(f['until'] or job.ended_by, job.ended_by)

  local position = walks.position_from(job.position)
  if f['until'] < position.created then position = { created = f['until'], ref = '~' } end
  local walk, found, last = walks.from(filter.narrowest(run, f), position, f.since or '-inf'), {}, nil
  local count = job.planned
  -- A run that was stopped may have left more than belong to the position.
  if count == 0 then
    redis.call('DEL', KEY.replay_ids(run, id))
  elseif redis.call('LLEN', KEY.replay_ids(run, id)) > count then
    redis.call('LTRIM', KEY.replay_ids(run, id), 0, count - 1)
  end
  for _ = 1, most do
    last = count + #found < job.max and walks.next(walk) or nil
    if not last then break end
    local r = filter.read_listed(run, last.ref)
    if r and originals.is_taken(run, f, r, job) then table.insert(found, last.ref) end
    if run.looked_at >= originals.MOST_LOOKED_AT then break end
  end
  held.renew_lease(run, id, tonumber(run.args[3]))
  effects.in_pieces('RPUSH', KEY.replay_ids(run, id), found, 1)
  if last then
    redis.call('HSET', KEY.replay(run, id), 'position', walks.position_text(last), 'planned', int(count + #found))
  else
    held.end_planning(run, job)
  end
  return { redis.call('HGET', KEY.replay(run, id), 'state'), count + #found }
end

return { kind = 'confirms', is_fenced = true, run = main }
