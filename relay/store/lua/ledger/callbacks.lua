-- callbacks: hands finished calls with due callbacks to a worker, which deletes them once it has sent the callbacks.
--
-- KEYS  1 the root of the partition
-- ARGV  1 hold_ms: how long no other worker gets these  2 limit  3 pass ('1': the command that ends a restore; others
--       get none while the partition is fenced)
-- Returns n times {ref, plugin, callback, state, status, error, finishedAt, webhook, revision}

local fields = require('fields')
local KEY = require('keys')
local int = require('numbers').int
local record = require('record')

local read_end = fields.record('state', 'plugin', 'callback', 'status', 'error', 'finishedAt', 'webhook', 'revision')

-- Hands out the ends whose time is from `first` to `last`.
local function hand_out(run, first, last)
  for _, ref in ipairs(redis.call('ZRANGEBYSCORE', KEY.callbacks(run), first, last, 'LIMIT', 0, run.limit - #run.rows)) do
    local r = read_end(run, ref)
    if r and r.callback ~= '' and record.FINAL[r.state] then
      redis.call('ZADD', KEY.callbacks(run), int(run.now + run.hold), ref)
      run.rows[#run.rows + 1] = {
        ref, r.plugin, r.callback, r.state, r.status, r.error, r.finishedAt, r.webhook, r.revision,
      }
    else -- deleted in the meantime
      redis.call('ZREM', KEY.callbacks(run), ref)
    end
  end
end

local function main(run)
  if run.args[3] ~= '1' and redis.call('HGET', KEY.pending(run), 'fence') then return {} end
  run.hold, run.limit = tonumber(run.args[1]), tonumber(run.args[2])
  run.rows = {}

  hand_out(run, '-inf', run.now_text)
  hand_out(run, '(' .. int(run.now + run.hold), '+inf') -- further ahead than any hold: the clock has gone back
  return run.rows
end

return { kind = 'counts', run = main }
