-- drop_access_token: deletes an access token, or the lock for fetching the next one, if it still has this value.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 revision  4 what: access_token or access_token_fetcher  5 the value that it must have
-- Returns 1 if it was deleted, 0 if it had another value or did not exist.

local KEY = require('keys')

local function main(run)
  local name = run.args[4] == 'access_token' and KEY.access_token or KEY.access_token_fetcher
  local key = name(run, run.args[1], run.args[2], run.args[3])
  if redis.call('GET', key) ~= run.args[5] then return 0 end
  return redis.call('DEL', key)
end

return { kind = 'counts', run = main }
