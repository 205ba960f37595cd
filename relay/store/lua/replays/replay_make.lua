-- replay_make: creates a job, held by its maker, who is going to plan it.
--
-- KEYS  1 the root of the partition
-- ARGV  1 replay id  2 plugin  3 token  4 lease_ms  5 caller  6 filter (JSON, see lib/filter.lua; '' if ids are
--       given by hand)  7 uncertain ('1': replays uncertain ones too)  8 max ('' for no limit)
--       9 rate per second ('' for no limit)  10 keep_ms: how long an ended job is kept
--       11 ended_by (ms, '' for now): only calls final by then  12 actor
-- Returns 1
--
-- Idempotent: a job that exists is not changed.

local audit = require('audit')
local jobs = require('jobs')
local KEY = require('keys')
local int = require('numbers').int

local function main(run)
  local id = run.args[1]
  if redis.call('EXISTS', KEY.replay(run, id)) == 1 then return 1 end
  audit.add(run, 'replay_start', run.args[12], run.args[2], id, '', 'started', '', '', '')
  redis.call('ZADD', KEY.replays(run, run.args[2]), run.now_text, id)
  jobs.set_alarm(run, id, run.now + tonumber(run.args[4])) -- before the job: an alarm without one is dropped
  redis.call('HSET', KEY.replay(run, id), 'plugin', run.args[2], 'state', 'planning', 'createdAt', run.now_text,
    'token', run.args[3], 'leaseEnd', int(run.now + tonumber(run.args[4])), 'caller', run.args[5],
    'filter', run.args[6], 'uncertain', run.args[7], 'max', run.args[8], 'rate', run.args[9], 'keep', run.args[10],
    'endedBy', run.args[11] ~= '' and run.args[11] or run.now_text, 'position', '', 'waits', '')
  return 1
end

return { kind = 'confirms', may_be_refused = true, is_fenced = true, run = main }
