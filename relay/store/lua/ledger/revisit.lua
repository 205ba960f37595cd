-- revisit: visits a piece of a webhook's calls that are not final, after a change that concerns all of them. If the
-- webhook was removed, waiting calls end as rejected; if its breaker was closed or its limits changed, calls that may
-- be sent now are made ready.
--
-- KEYS  1 the root of the partition
-- ARGV  1 token  2 margin_ms  3 grace_ms  4-7 retention ms: ok, failed, rejected, contents (0: as records)
--       8 plugin  9 webhook  10 cursor ('0' at the beginning)  11 about how many to examine
-- Returns {the next piece's cursor, '0' if there is none, ready: ref, lane, ...}
--
-- A repeated call skips what was done, and continues. If a caller stops before the last piece, the next sweep starts
-- again.

local breaker = require('breaker')
local conclude = require('conclude')
local damage = require('damage')
local fields = require('fields')
local finish = require('finish')
local KEY = require('keys')
local parking = require('parking')
local policy = require('policy')
local ready = require('ready')

local read_revisited = fields.record('state', 'callback', 'token', 'leaseEnd', 'plugin', 'webhook', 'timeout',
  'repeatable', 'losses', 'attempts', 'requestBytes', 'waiters', 'parked', 'createdAt', 'lane', 'chain', 'deadline',
  'parent', 'replay', 'step', 'endBy', 'held')

local function look(run, ref)
  local r = read_revisited(run, ref)
  if not r or (r.state ~= 'queued' and r.state ~= 'retrying') then return end
  if conclude.is_removed(run, r, run.w) then
    conclude.without_answer(run, r, 'rejected', 'webhook_not_registered')
  elseif r.state == 'retrying' and r.held == '1' and breaker.state(run, run.w) ~= 'open' and not run.w.paused then
    redis.call('HSET', KEY.record(run, ref), 'notBefore', run.now_text, 'held', '')
    ready.make(run, ref, r.lane)
  elseif r.parked == '1' and not run.w.paused and not run.w.concurrency and not run.w.every then
    ready.make(run, ref, r.lane)
  end
end

local function main(run)
  conclude.read_arguments(run, 1, 2)
  ready.read_grace(run, 3)
  finish.read_retention(run, 4)
  local plugin, webhook = run.args[8], run.args[9]
  run.w = policy.of(run, plugin, webhook)

  local page = redis.call('ZSCAN', KEY.open(run, plugin, webhook), run.args[10], 'COUNT', run.args[11])
  for index = 1, #page[2], 2 do damage.try(look, run, page[2][index]) end -- a damaged call does not hold up the others
  finish.flush(run)
  if page[1] == '0' then
    if run.w.concurrency or run.w.every then parking.wake(run, run.w, 1000, {}) end
    redis.call('SREM', KEY.revisits(run), plugin .. '/' .. webhook)
  end
  return { page[1], run.ready }
end

return { kind = 'confirms', is_fenced = true, run = main }
