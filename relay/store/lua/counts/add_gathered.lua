-- add_gathered: adds the amounts that a worker has gathered for a plugin to the plugin's totals.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 worker process  3 batch: the id of these amounts  4 seconds for which the batch is remembered
--       5... field amount, field amount, ...
-- Returns 1
--
-- Idempotent: the last batch of each process is remembered, so a repeated call adds nothing.

local KEY = require('keys')

local function main(run)
  local seen = KEY.gathered(run, run.args[1], run.args[2])
  if redis.call('GET', seen) == run.args[3] then return 1 end
  redis.call('SET', seen, run.args[3], 'EX', run.args[4]) -- first: a batch stopped halfway counts in part, never twice
  for index = 5, #run.args, 2 do
    redis.call('HINCRBY', KEY.totals(run, run.args[1]), run.args[index], run.args[index + 1])
  end
  return 1
end

return { kind = 'counts', run = main }
