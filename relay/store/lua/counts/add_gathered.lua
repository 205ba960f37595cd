-- add_gathered: adds the amounts that a worker has gathered for a plugin to the plugin's totals.
--
-- kind: counts
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 worker process  3 batch: the id of these amounts  4 seconds for which the batch is remembered
--       5... field amount, field amount, ...
-- Returns 1
--
-- Idempotent: the last batch of each process is remembered, so a repeated call adds nothing.

local seen = KEY.gathered(ARGV[1], ARGV[2])
if redis.call('GET', seen) == ARGV[3] then return 1 end
redis.call('SET', seen, ARGV[3], 'EX', ARGV[4]) -- first: what is stopped halfway is counted in part, never twice
for index = 5, #ARGV, 2 do redis.call('HINCRBY', KEY.totals(ARGV[1]), ARGV[index], ARGV[index + 1]) end
return 1
