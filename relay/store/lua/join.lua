-- join: an API process waits for an invocation; the record is returned, and if it is final nobody need wait.
--
-- KEYS  none
-- ARGV  1 reference id  2 plugin  3 process id of the API
-- Returns the record as a flat list of names and values; empty if there is none for this plugin

local record = KEY.record(ARGV[1])
local f = redis.call('HMGET', record, 'plugin', 'finishedAt', 'waiters')
if not f[1] or f[1] ~= ARGV[2] then return {} end
local waiters = f[3] or ''
if not f[2] and not string.find(',' .. waiters .. ',', ',' .. ARGV[3] .. ',', 1, true) then
  redis.call('HSET', record, 'waiters', waiters == '' and ARGV[3] or (waiters .. ',' .. ARGV[3]))
end
return redis.call('HGETALL', record)
