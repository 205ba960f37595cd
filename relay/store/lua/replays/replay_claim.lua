-- replay_claim: claims a job, in order to plan it or to make its invocations.
--
-- KEYS  1 the root of the partition
-- ARGV  1 replay id  2 token  3 lease_ms
-- Returns {state, plugin, by hand ('1': its originals are given by its maker), rate}; nothing if there is nothing to
--         do, or it has another holder
--
-- Idempotent: the same token gets the job again.

local held = require('held')
local KEY = require('keys')
local number = require('numbers').number
local runs = require('runs')

local function main(run)
  local id, token = run.args[1], run.args[2]
  local f = redis.call('HMGET', KEY.replay(run, id), 'state', 'token', 'leaseEnd', 'plugin', 'filter', 'rate')
  if f[1] ~= 'planning' and f[1] ~= 'running' then return false end
  if f[2] ~= token and runs.within(run, number(f[3]), tonumber(run.args[3])) > run.now then return false end
  redis.call('HSET', KEY.replay(run, id), 'token', token, 'waits', '')
  held.renew_lease(run, id, tonumber(run.args[3]))
  return { f[1], f[4], f[5] == '' and '1' or '', f[6] }
end

return { kind = 'counts', is_fenced = true, run = main }
