-- replay_make: creates a job, held by its maker, who is going to plan it.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 replay id  2 plugin  3 token  4 lease_ms  5 caller  6 filter (JSON, see include/filter.lua; '' if ids are
--       given by hand)  7 uncertain ('1': replays uncertain ones too)  8 max ('' for no limit)
--       9 rate per second ('' for no limit)  10 keep_ms: how long an ended job is kept
--       11 ended_by (ms, '' for now): only calls final by then  12 actor
-- Returns 1
--
-- Idempotent: a job that exists is not changed.
-- needs: audit, clock, jobs

local id = ARGV[1]
if redis.call('EXISTS', KEY.replay(id)) == 1 then return 1 end
audit('replay_start', ARGV[12], ARGV[2], id, '', 'started', '', '', '')
redis.call('ZADD', KEY.replays(ARGV[2]), int(now), id)
job_alarm(id, now + tonumber(ARGV[4])) -- before the job: an alarm without one is dropped
redis.call('HSET', KEY.replay(id), 'plugin', ARGV[2], 'state', 'planning', 'createdAt', int(now), 'token', ARGV[3],
  'leaseEnd', int(now + tonumber(ARGV[4])), 'caller', ARGV[5], 'filter', ARGV[6], 'uncertain', ARGV[7],
  'max', ARGV[8], 'rate', ARGV[9], 'keep', ARGV[10], 'endedBy', ARGV[11] ~= '' and ARGV[11] or int(now), 'position', '', 'waits', '')
return 1
