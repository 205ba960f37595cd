-- join: adds an API process to the waiters of an invocation, unless it is final.
--
-- kind: counts
-- KEYS  1 the root of the partition
-- ARGV  1 reference id  2 plugin  3 process id of the API
-- Returns 1 if the process is a waiter now, 0 if the invocation is final, or this plugin has none of that id
-- values read_waiters: plugin finishedAt waiters

local plugin, finished, waiters = read_waiters(ARGV[1])
if plugin ~= ARGV[2] or finished then return 0 end
waiters = waiters or ''
if not string.find(',' .. waiters .. ',', ',' .. ARGV[3] .. ',', 1, true) then
  redis.call('HSET', KEY.record(ARGV[1]), 'waiters', waiters == '' and ARGV[3] or (waiters .. ',' .. ARGV[3]))
end
return 1
