-- audit_add: adds entries to the audit trail, for acts that no script performs.
--
-- KEYS  1 the root of the trail
-- ARGV  the entries, without the time
-- Returns the entries' time, which is now (ms)

local KEY = require('keys')

local function main(run)
  for _, words in ipairs(run.args) do redis.call('RPUSH', KEY.audit_entries(run), run.now_text .. ' ' .. words) end
  return run.now_text
end

return { kind = 'counts', run = main }
