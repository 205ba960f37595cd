-- settle: records the outcomes of n attempts.
--
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2-5 retention ms: ok, failed, rejected, contents (0: as records)  6 n, then n times:
--       ref token state outcome status error attempt responseBytes masked result delay_ms contacted raw reason capacity
--       (status and error '' without a result; attempt '' if none was made; result sealed, '' for none; delay for
--       the state `retrying`; contacted '1' or '0' for the breaker, '' if nothing was tried; raw: the part of a step's
--       answer that its chain needs, sealed, '' for none; reason: why a chain ended, '' for none; capacity: how many more
--       calls of the webhook the worker could hold, '' if it does not say)
-- Returns {per outcome: settled, or late (another worker has the call, or ended it: counted, kept as lateAnswer),
--          ready: ref, lane, ..., rows (lib/rows.lua) of the first of these, as the settling worker is likely to
--          run them}
--
-- Idempotent: a call that has left `sending` with this token is recognised, and answered as the first time.

local alarms = require('alarms')
local breaker = require('breaker')
local conclude = require('conclude')
local constants = require('constants')
local effects = require('effects')
local fields = require('fields')
local finish = require('finish')
local KEY = require('keys')
local numbers = require('numbers')
local parking = require('parking')
local permits = require('permits')
local policy = require('policy')
local ready = require('ready')
local record = require('record')
local rows = require('rows')
local int, number, whole = numbers.int, numbers.number, numbers.whole

-- Like `fields.record`, but written out, which is faster: every call is read this way.
local function read_settled(run, ref)
  local f = fields.read(run, ref, 'state', 'callback', 'token', 'plugin', 'webhook', 'requestBytes', 'waiters',
    'attempts', 'parent', 'chain', 'lane', 'createdAt', 'replay')
  if not f[1] then return nil end
  return {
    ref = ref, state = f[1], callback = f[2] or '', token = f[3] or '', plugin = f[4] or '', webhook = f[5] or '',
    requestBytes = whole(f[6]) or '0', waiters = f[7] or '', attempts = f[8] or '', parent = f[9] or '',
    chain = f[10] or '', lane = constants.IS_LANE[f[11]] and f[11] or constants.LAST_LANE,
    createdAt = whole(f[12]) or numbers.created_of(ref), replay = f[13] or '',
  }
end

local read_late_answer = fields.values('lateAnswer')

local read_end_by = fields.values('endBy')

local read_last_token = fields.values('lastToken')

local WIDTH = 15

-- Keeps a late answer in the record, and counts it once: it is not a result, but it is evidence.
local function late(run, r, token, outcome, status)
  local note = string.format('%s %s %s', token, outcome, status)
  if read_late_answer(run, r.ref) ~= note then
    redis.call('HSET', KEY.record(run, r.ref), 'lateAnswer', note)
    effects.sum_count(effects.sums_of(run, r.plugin), 'late', 1)
  end
  return 'late'
end

-- Makes a call wait until the delay before its next attempt has passed.
local function retry(run, r, w, delay, fields)
  local not_before = int(run.now + tonumber(delay))
  redis.call('HSET', KEY.record(run, r.ref), 'state', 'retrying', 'notBefore', not_before, 'pause', delay, 'token', '',
    'lastToken', r.token, 'leaseEnd', '', 'losses', '0', unpack(fields))
  permits.release(run, w, r.ref)
  alarms.set_running(run, r.ref, r.lane, not_before)
end

-- Returns the fields to write; empty ones are left out, unless they have to replace those of an earlier attempt.
local function fields_of(r, attempt, response_bytes, masked, reason)
  local first, fields = r.attempts == '', {}
  if attempt ~= '' then
    r.attempts = first and attempt or (r.attempts .. ',' .. attempt)
    fields = { 'attempts', r.attempts }
  end
  if not first or response_bytes ~= '0' then record.set_field(fields, 'responseBytes', response_bytes) end
  if not first or masked ~= '0' then record.set_field(fields, 'masked', masked) end
  if not first or reason ~= '' then record.set_field(fields, 'reason', reason) end
  return fields
end

-- Has a call tried again, unless its webhook was removed or the call is too old: then the call ends.
local function try_again(run, r, delay, fields)
  local w = policy.of(run, r.plugin, r.webhook)
  if w.removed > 0 and r.parent == '' and conclude.is_older(run, r.ref, w) then
    return finish.call(run, r, {
      state = 'rejected', outcome = 'webhook_not_registered', status = '', error = '', result = '', token = r.token,
      fields = fields,
    })
  end
  r.endBy = read_end_by(run, r.ref) or ''
  if not conclude.is_aged(run, r) then return retry(run, r, w, delay, fields) end
  conclude.note_age(run, r)
  record.set_field(fields, 'attempts', r.attempts)
  finish.call(run, r, {
    state = 'unreachable', outcome = 'expired', status = '0', error = '1', result = '', token = r.token, fields = fields,
  })
end

-- Settles one call; the arguments are listed in the header.
local function settle(run, ref, token, state, outcome, status, error, attempt, response_bytes, masked, result, delay,
  contacted, raw, reason, worker_capacity)
  local r = read_settled(run, ref)
  if not r then return 'late' end
  local w = policy.of(run, r.plugin, r.webhook)
  if worker_capacity ~= '' then parking.offer_capacity(w, r.lane, worker_capacity) end
  if r.state ~= 'sending' or r.token ~= token then
    r.lastToken = read_last_token(run, ref)
    if not record.ended_with(r, token) then return late(run, r, token, outcome, status) end
    finish.again(run, r)
    return 'settled'
  end
  if masked ~= '0' then effects.sum_count(effects.sums_of(run, r.plugin), 'masked', number(masked)) end
  if contacted ~= '' then breaker.record_contact(run, w, contacted == '1') end
  local fields = fields_of(r, attempt, response_bytes, masked, reason)
  if state == 'retrying' then
    try_again(run, r, delay, fields)
    return 'settled'
  end
  finish.with_answer(run, r, {
    state = state, outcome = outcome, status = status, error = error, result = result, token = token, fields = fields,
  }, raw)
  return 'settled'
end

local function main(run)
  ready.read_grace(run, 1)
  finish.read_retention(run, 2)

  local replies = {}
  for index = 1, tonumber(run.args[6]) do
    local at = 7 + (index - 1) * WIDTH
    replies[index] = settle(run, unpack(run.args, at, at + WIDTH - 1))
  end
  finish.flush(run)
  return { replies, run.ready, rows.of_ready(run) }
end

return { kind = 'confirms', run = main }
