-- resume: resumes a webhook, and makes its parked calls ready, a page at a time.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 webhook  3 grace_ms  4 offset  5 limit  6 actor, then, if the offset is 0, the decision
--       (lib/decisions.lua)
-- Returns ready: ref, lane, ...: no more calls than the webhook has capacity for; or 'stale' if something was decided since
--         the caller read the chain: nothing was done

local audit = require('audit')
local decisions = require('decisions')
local KEY = require('keys')
local parking = require('parking')
local permits = require('permits')
local policy = require('policy')
local ready = require('ready')

local function main(run)
  ready.read_grace(run, 3)
  local offset, limit = tonumber(run.args[4]), tonumber(run.args[5])
  if offset == 0 and not decisions.may_add(run, KEY.decisions(run), 7) then return 'stale' end
  local resumed = redis.call('HDEL', KEY.policy(run, run.args[1], run.args[2]), 'paused')
  if offset == 0 then
    local outcome = resumed == 1 and 'resumed' or 'unchanged'
    audit.add(run, 'webhook_resume', run.args[6], run.args[1], run.args[2], '', outcome, '', '', '')
    decisions.add(run, KEY.decisions(run), 7)
  end
  local w = policy.of(run, run.args[1], run.args[2])
  local count = math.min(permits.capacity(run, w) - offset, limit)
  if count >= 1 then
    local key = KEY.parked(run, w.plugin, w.webhook)
    ready.make_all(run, key, redis.call('ZRANGE', key, offset, offset + count - 1))
  elseif offset == 0 then
    parking.wake(run, w, 0, {})
  end
  return run.ready
end

return { kind = 'confirms', is_fenced = true, run = main }
