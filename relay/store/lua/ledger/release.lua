-- release: gives back claimed calls that were not sent, for example because the worker drains; no attempt is counted.
--
-- KEYS  1 the root of the partition
-- ARGV  1 token  2 grace_ms  3... the reference ids
-- Returns ready: ref, lane, ...: the calls given back, and those that their freed permits wake
--
-- Idempotent: a call that was given back has the token as lastToken, and is returned as it was the first time.

local fields = require('fields')
local KEY = require('keys')
local parking = require('parking')
local permits = require('permits')
local policy = require('policy')
local ready = require('ready')

local read_claimed = fields.record('state', 'token', 'lastToken', 'plugin', 'webhook', 'lane')

local function release(run, ref)
  local r = read_claimed(run, ref)
  if not r then return end
  if r.state == 'queued' and r.lastToken == run.token then
    permits.wake_one_at_end(policy.of(run, r.plugin, r.webhook))
    ready.add(run, ref, r.lane)
  elseif r.state == 'sending' and r.token == run.token then
    redis.call('HSET', KEY.record(run, ref), 'state', 'queued', 'token', '', 'lastToken', run.token, 'leaseEnd', '')
    permits.release(run, policy.of(run, r.plugin, r.webhook), ref)
    ready.make(run, ref, r.lane)
  end
end

local function main(run)
  run.token = run.args[1]
  ready.read_grace(run, 2)

  for index = 3, #run.args do release(run, run.args[index]) end
  parking.wake_all(run)
  return run.ready
end

return { kind = 'confirms', run = main }
