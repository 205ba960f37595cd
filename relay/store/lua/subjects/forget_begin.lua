-- forget_begin: begins to forget a subject: a job destroys the contents of all invocations that concern it. Workers go
-- on with the job (lua/subjects/forget_piece.lua) until everything that was accepted before its end is forgotten.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 subject (keyed hash)  3 actor
-- Returns 1
--
-- The job is a hash: who, startedAt, total (how many invocations there were then), looked (at how many of them the job
-- has looked), position (of the last of these, see include/walk.lua), walked ('1' after all), forgotten (how many).
-- Idempotent except for the audit entry: a job that is not done is not begun anew, since it reaches everything.
-- needs: audit, clock

local plugin, subject, who = ARGV[1], ARGV[2], ARGV[3]
local member = plugin .. '/' .. subject
local is_begun = redis.call('ZSCORE', KEY.forgettings(), member)
audit('forget_subject', who, plugin, '', '', is_begun and 'unchanged' or 'started', '', '', '')
if is_begun then return 1 end
redis.call('DEL', KEY.forgetting(plugin, subject), KEY.forgetting_open(plugin, subject))
redis.call('HSET', KEY.forgetting(plugin, subject), 'who', who, 'startedAt', now_text, 'total',
  redis.call('ZCARD', KEY.subject_index(plugin, subject)))
redis.call('ZADD', KEY.forgettings(), now_text, member)
return 1
