-- settle: records the outcomes of n attempts.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2-5 retention ms: ok, failed, rejected, contents (0: as records)  6 n, then n times:
--       ref token state outcome status error attempt responseBytes masked result delay_ms contacted raw reason capacity
--       (status and error '' without a result; attempt '' if none was made; result sealed, '' for none; delay for
--       the state `retrying`; contacted '1' or '0' for the breaker, '' if nothing was tried; raw: the part of a step's
--       answer that its chain needs, sealed, '' for none; reason: why a chain ended, '' for none; capacity: how many more
--       calls of the webhook the worker could hold, '' if it does not say)
-- Returns {per outcome: settled, or late (another worker has the call, or ended it: counted, kept as lateAnswer),
--          ready: ref, lane, ..., rows (include/rows.lua) of the first of these, as the settling worker is likely to
--          run them}
--
-- Idempotent: a call that has left `sending` with this token is recognised, and answered as the first time.
-- needs: alarms, breaker, clock, conclude, effects, finish, parking, permits, policy, ready, record, rows
-- record read_settled: state callback token plugin webhook requestBytes waiters attempts parent chain lane createdAt
--   replay
-- values read_late_answer: lateAnswer
-- values read_end_by: endBy
-- values read_last_token: lastToken

local WIDTH = 15
grace_from(1)
retention_from(2)

-- Keeps a late answer in the record, and counts it once: it is no result, but it is evidence.
local function late(r, token, outcome, status)
  local note = string.format('%s %s %s', token, outcome, status)
  if read_late_answer(r.ref) ~= note then
    redis.call('HSET', KEY.record(r.ref), 'lateAnswer', note)
    sum_count(sums_of(r.plugin), 'late', 1)
  end
  return 'late'
end

-- Lets a call wait for another attempt, until the delay has passed.
local function retry(r, w, delay, fields)
  local not_before = int(now + tonumber(delay))
  redis.call('HSET', KEY.record(r.ref), 'state', 'retrying', 'notBefore', not_before, 'pause', delay, 'token', '',
    'lastToken', r.token, 'leaseEnd', '', 'losses', '0', unpack(fields))
  release_permit(w, r.ref)
  alarm_running(r.ref, r.lane, not_before)
end

-- Returns the fields to write; empty ones are left out, unless they have to replace those of an earlier attempt.
local function fields_of(r, attempt, response_bytes, masked, reason)
  local first, fields = r.attempts == '', {}
  if attempt ~= '' then
    r.attempts = first and attempt or (r.attempts .. ',' .. attempt)
    fields = { 'attempts', r.attempts }
  end
  if not first or response_bytes ~= '0' then set_field(fields, 'responseBytes', response_bytes) end
  if not first or masked ~= '0' then set_field(fields, 'masked', masked) end
  if not first or reason ~= '' then set_field(fields, 'reason', reason) end
  return fields
end

-- Lets a call be tried again, unless its webhook was removed, or the call is too old: then it ends.
local function try_again(r, delay, fields)
  local w = webhook_of(r.plugin, r.webhook)
  if w.removed > 0 and r.parent == '' and is_older(r.ref, w) then
    return finish(r, {
      state = 'rejected', outcome = 'webhook_not_registered', status = '', error = '', result = '', token = r.token,
      fields = fields,
    })
  end
  r.endBy = read_end_by(r.ref) or ''
  if not is_aged(r) then return retry(r, w, delay, fields) end
  note_age(r)
  set_field(fields, 'attempts', r.attempts)
  finish(r, {
    state = 'unreachable', outcome = 'expired', status = '0', error = '1', result = '', token = r.token, fields = fields,
  })
end

-- Settles one call; the arguments are listed in the header.
local function settle(ref, token, state, outcome, status, error, attempt, response_bytes, masked, result, delay,
  contacted, raw, reason, worker_capacity)
  local r = read_settled(ref)
  if not r then return 'late' end
  local w = webhook_of(r.plugin, r.webhook)
  if worker_capacity ~= '' then offer_capacity(w, r.lane, worker_capacity) end
  if r.state ~= 'sending' or r.token ~= token then
    r.lastToken = read_last_token(ref)
    if not ended_with(r, token) then return late(r, token, outcome, status) end
    end_again(r)
    return 'settled'
  end
  if masked ~= '0' then sum_count(sums_of(r.plugin), 'masked', number(masked)) end
  if contacted ~= '' then record_contact(w, contacted == '1') end
  local fields = fields_of(r, attempt, response_bytes, masked, reason)
  if state == 'retrying' then
    try_again(r, delay, fields)
    return 'settled'
  end
  if is_over(r.parent) then result, raw = '', '' end -- the texts to hide are no longer known
  if raw ~= '' then redis.call('SET', KEY.raw(ref), raw, 'PX', CHAIN_KEPT_MS) end
  finish(r, {
    state = state, outcome = outcome, status = status, error = error, result = result, token = token, fields = fields,
  })
  return 'settled'
end

local replies = {}
for index = 1, tonumber(ARGV[6]) do
  local at = 7 + (index - 1) * WIDTH
  replies[index] = settle(unpack(ARGV, at, at + WIDTH - 1))
end
flush_all()
return { replies, ready, rows_of_ready() }
