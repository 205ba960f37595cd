-- settle: record what came of n attempts.
--
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2-5 retention ms: ok, failed, rejected, contents (0: as records)  6 n, then n times:
--       ref token state outcome status error attempt responseBytes masked result delay_ms contacted raw reason room
--       (status and error '' without a result; attempt '' where none was made; result sealed, '' for none; delay of
--       the state `retrying`; contacted '1' or '0' for the breaker, '' where nothing was tried; raw: what a chain
--       needs of its step's answer, sealed, '' for none; reason: why a chain ended, '' for none; room: how many more calls of
--       the webhook the worker could hold, '' where it does not say)
-- Returns {per result: settled, or late (somebody else has the call, or ended it: counted, kept as lateAnswer),
--          ready: ref, lane, ..., rows of the first of these, as rows says: who settles is likely to run them}
--
-- Idempotent: a token that left `sending` is known, and answered as the first time.
-- needs: alarms, clock, conclude, effects, finish, places, record, rows, steps
-- record read_call: state callback token plugin webhook requestBytes waiters attempts parent chain lane createdAt replay

local WIDTH = 15
local RAW_MS = 3600000 -- longer than any chain may take
local MOST_ROWS, MOST_ROW_BYTES = 32, 262144
grace_from(1)
retention_from(2)

-- A refused answer is no result, but it is evidence: kept, and counted once.
local function late(answer, r)
  local note = string.format('%s %s %s', answer.token, answer.outcome, answer.status)
  if redis.call('HGET', KEY.record(r.ref), 'lateAnswer') ~= note then
    redis.call('HSET', KEY.record(r.ref), 'lateAnswer', note)
    effect_count(r.plugin, 'late')
  end
  return 'late'
end

-- Another attempt, not before the delay has passed.
local function retry(answer, r, fields)
  local not_before = int(now + tonumber(answer.delay))
  redis.call('HSET', KEY.record(r.ref), 'state', 'retrying', 'notBefore', not_before, 'token', '',
    'lastToken', answer.token, 'leaseEnd', '', 'losses', '0', unpack(fields))
  leave_place(webhook_of(r.plugin, r.webhook), r.ref)
  alarm_running(r.ref, r.lane, not_before)
end

-- The reply to the first call was lost: whom its end made ready is looked up again.
local function settled_before(r)
  pass_on(webhook_of(r.plugin, r.webhook))
  parent_again(r.parent)
  return 'settled'
end

-- What is nothing is left out, unless it has to replace what an earlier attempt left.
local function fields_of(answer, r)
  local fields = {}
  local function add(name, value, nothing)
    if value == nothing and r.attempts == '' then return end
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  if answer.attempt ~= '' then
    add('attempts', r.attempts == '' and answer.attempt or (r.attempts .. ',' .. answer.attempt))
  end
  add('responseBytes', answer.response_bytes, '0')
  add('masked', answer.masked, '0')
  add('reason', answer.reason, '')
  return fields
end

-- Too old for another attempt: it ends with this one, whatever that was.
local function end_aged(answer, r, fields)
  if answer.attempt ~= '' then r.attempts = r.attempts == '' and answer.attempt or (r.attempts .. ',' .. answer.attempt) end
  note_age(r)
  fields[#fields + 1] = 'attempts'
  fields[#fields + 1] = r.attempts
  finish(r, {
    state = 'unreachable', outcome = 'expired', status = '0', error = '1', result = '', token = answer.token,
    fields = fields,
  })
end

local function settle(answer)
  local r = read_call(answer.ref)
  if not r then return 'late' end
  if answer.room ~= '' then offer_room(webhook_of(r.plugin, r.webhook), r.lane, tonumber(answer.room)) end
  if r.state ~= 'sending' or r.token ~= answer.token then
    r.lastToken = redis.call('HGET', KEY.record(r.ref), 'lastToken')
    return ended_with(r, answer.token) and settled_before(r) or late(answer, r)
  end
  if answer.masked ~= '0' then effect_count(r.plugin, 'masked', number(answer.masked)) end
  if answer.contacted ~= '' then breaker_hears(webhook_of(r.plugin, r.webhook), answer.contacted == '1') end
  local fields = fields_of(answer, r)
  local w = answer.state == 'retrying' and webhook_of(r.plugin, r.webhook)
  if w and w.removed > 0 and number(redis.call('HGET', KEY.record(r.ref), 'revision')) <= w.removed and r.parent == '' then
    finish(r, {
      state = 'rejected', outcome = 'webhook_not_registered', status = '', error = '', result = '', token = answer.token,
      fields = fields,
    })
  elseif answer.state == 'retrying' and is_aged({ endBy = redis.call('HGET', KEY.record(r.ref), 'endBy') or '' }) then
    end_aged(answer, r, fields)
  elseif answer.state == 'retrying' then
    retry(answer, r, fields)
  else
    if is_over(r.parent) then answer.result, answer.raw = '', '' end -- what is to be hidden is not known any more
    if answer.raw ~= '' then redis.call('SET', KEY.raw(r.ref), answer.raw, 'PX', RAW_MS) end
    finish(r, {
      state = answer.state, outcome = answer.outcome, status = answer.status, error = answer.error,
      result = answer.result, token = answer.token, fields = fields,
    })
  end
  return 'settled'
end

local function rows_of_ready()
  local rows, bytes_left = {}, MOST_ROW_BYTES
  for index = 1, math.min(#ready / 2, MOST_ROWS) do
    if bytes_left < 0 then break end
    rows[index] = row_of(ready[2 * index - 1])
    bytes_left = bytes_left - (rows[index] and #rows[index][6] or 0)
  end
  return rows
end

local replies = {}
for index = 1, tonumber(ARGV[6]) do
  local at = 7 + (index - 1) * WIDTH
  replies[index] = settle({
    ref = ARGV[at], token = ARGV[at + 1], state = ARGV[at + 2], outcome = ARGV[at + 3], status = ARGV[at + 4],
    error = ARGV[at + 5], attempt = ARGV[at + 6], response_bytes = ARGV[at + 7], masked = ARGV[at + 8],
    result = ARGV[at + 9], delay = ARGV[at + 10], contacted = ARGV[at + 11], raw = ARGV[at + 12], reason = ARGV[at + 13],
    room = ARGV[at + 14],
  })
end
flush_all()
return { replies, ready, rows_of_ready() }
