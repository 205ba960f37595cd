-- join: adds an API process to the waiters of an invocation, unless it is final.
--
-- KEYS  1 the root of the partition
-- ARGV  1 reference id  2 plugin  3 process id of the API
-- Returns 1 if the process is a waiter now, 0 if the invocation is final, or this plugin has none with that id

local fields = require('fields')
local KEY = require('keys')

local read_waiters = fields.values('plugin', 'finishedAt', 'waiters')

local function main(run)
  local plugin, finished, waiters = read_waiters(run, run.args[1])
  if plugin ~= run.args[2] or finished then return 0 end
  waiters = waiters or ''
  if not string.find(',' .. waiters .. ',', ',' .. run.args[3] .. ',', 1, true) then
    local all = waiters == '' and run.args[3] or (waiters .. ',' .. run.args[3])
    redis.call('HSET', KEY.record(run, run.args[1]), 'waiters', all)
  end
  return 1
end

return { kind = 'counts', run = main }
