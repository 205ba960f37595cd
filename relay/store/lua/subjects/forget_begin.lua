-- forget_begin: begins to forget a subject: a job deletes the contents of all invocations that concern it. Workers
-- continue the job (lua/subjects/forget_piece.lua) until everything that was accepted before its end is forgotten.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 subject (keyed hash)  3 actor
-- Returns 1
--
-- The job is a hash: who, startedAt, total (how many invocations there were then), looked (how many of them the job has
-- examined), position (of the last of these, see lib/walks.lua), walked ('1' after all), forgotten (how many).
-- Idempotent except for the audit entry: a job that is not done is not begun again, since it reaches everything.

local audit = require('audit')
local KEY = require('keys')

local function main(run)
  local plugin, subject, who = run.args[1], run.args[2], run.args[3]
  local member = plugin .. '/' .. subject
  local is_begun = redis.call('ZSCORE', KEY.forgettings(run), member)
  audit.add(run, 'forget_subject', who, plugin, '', '', is_begun and 'unchanged' or 'started', '', '', '')
  if is_begun then return 1 end
  redis.call('DEL', KEY.forgetting(run, plugin, subject), KEY.forgetting_open(run, plugin, subject))
  redis.call('HSET', KEY.forgetting(run, plugin, subject), 'who', who, 'startedAt', run.now_text, 'total',
    redis.call('ZCARD', KEY.subject_index(run, plugin, subject)))
  redis.call('ZADD', KEY.forgettings(run), run.now_text, member)
  return 1
end

return { kind = 'confirms', run = main }
