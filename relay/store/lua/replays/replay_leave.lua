-- replay_leave: lets the holder of a job give it up.
--
-- KEYS  1 the root of the partition
-- ARGV  1 replay id  2 token  3 grace_ms  4 after_ms: how long until it is looked at again; '0': at once
-- Returns ready: the job and its lane, if after_ms is '0'

local jobs = require('jobs')
local KEY = require('keys')
local ready = require('ready')

local function main(run)
  local id, after = run.args[1], tonumber(run.args[4])
  ready.read_grace(run, 3)
  if redis.call('HGET', KEY.replay(run, id), 'token') ~= run.args[2] then return run.ready end
  if jobs.state_of(run, id) ~= 'running' and jobs.state_of(run, id) ~= 'planning' then return run.ready end
  jobs.leave(run, id, after)
  if after == 0 then jobs.wake(run, id) end
  return run.ready
end

return { kind = 'counts', is_fenced = true, run = main }
