-- drop_token: forgets an access token, or who may fetch the next one, if it is still this one.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 revision  4 what: token, or token_fetcher  5 the value that it must have
-- Returns 1 if it is forgotten, 0 if it was another one, or gone before.

local name = ARGV[4] == 'token' and KEY.token or KEY.token_fetcher
local key = name(ARGV[1], ARGV[2], ARGV[3])
if redis.call('GET', key) ~= ARGV[5] then return 0 end
return redis.call('DEL', key)
