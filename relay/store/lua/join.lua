-- join: adds an API process to the waiters of an invocation, unless it is final.
--
-- KEYS  1 the root of the partition
-- ARGV  1 reference id  2 plugin  3 process id of the API
-- Returns 1 if the process is a waiter now, 0 if the invocation is final, or this plugin has none of that id

local record = KEY.record(ARGV[1])
local f = redis.call('HMGET', record, 'plugin', 'finishedAt', 'waiters')
if not f[1] or f[1] ~= ARGV[2] or f[2] then return 0 end
local waiters = f[3] or ''
if not string.find(',' .. waiters .. ',', ',' .. ARGV[3] .. ',', 1, true) then
  redis.call('HSET', record, 'waiters', waiters == '' and ARGV[3] or (waiters .. ',' .. ARGV[3]))
end
return 1
