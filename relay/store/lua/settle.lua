-- settle: record what came of n attempts.
--
-- KEYS  none
-- ARGV  1 grace_ms  2-4 retention ms: ok, failed, rejected  5 n, then n times:
--       ref token state outcome status error attempt responseBytes masked result delay_ms contacted
--       (status and error '' without a result; attempt '' where none was made; result sealed, '' for none; delay of
--       the state `retrying`; contacted '1' or '0' for the breaker, '' where nothing was tried)
-- Returns {per result: settled, or late (somebody else has the call, or ended it: counted, kept as lateAnswer),
--          ready: ref, lane, ...}
--
-- Idempotent: a token that left `sending` is lastToken, and is answered as the first time.
-- include: clock, effects, places, finish

local WIDTH = 12
local grace = tonumber(ARGV[1])
retention_from(2)

-- A refused answer is no result, but it is evidence: kept, and counted once.
local function late(answer, r)
  local note = string.format('%s %s %s', answer.token, answer.outcome, answer.status)
  if r.late ~= note then
    redis.call('HSET', KEY.record(answer.ref), 'lateAnswer', note)
    effect_count(r.plugin, 'late')
  end
  return 'late'
end

-- Another attempt, not before the delay has passed.
local function retry(answer, w, fields)
  local not_before = int(now + tonumber(answer.delay))
  redis.call('HSET', KEY.record(answer.ref), 'state', 'retrying', 'notBefore', not_before, 'token', '',
    'lastToken', answer.token, 'leaseEnd', '', 'losses', '0', unpack(fields))
  leave_place(w, answer.ref)
  redis.call('ZREM', KEY.due_queued(), answer.ref)
  redis.call('ZADD', KEY.due_running(), not_before, answer.ref)
end

local function settle(answer)
  local f = redis.call('HMGET', KEY.record(answer.ref), 'state', 'token', 'lastToken', 'plugin', 'webhook',
    'requestBytes', 'waiters', 'attempts', 'lateAnswer', 'tries', 'parked')
  if not f[1] then return 'late' end
  local r = {
    state = f[1], plugin = f[4], webhook = f[5], requestBytes = f[6], waiters = f[7], late = f[9], parked = f[11],
  }
  local w = webhook_of(r.plugin, r.webhook)
  if f[3] == answer.token then
    w.freed = w.freed + 1
    return 'settled'
  end
  if f[1] ~= 'sending' or f[2] ~= answer.token then return late(answer, r) end
  local attempts, tries = f[8], tonumber(f[10])
  if answer.attempt ~= '' then
    attempts, tries = attempts == '' and answer.attempt or (attempts .. ',' .. answer.attempt), tries + 1
  end
  if answer.contacted ~= '' then breaker_hears(w, answer.contacted == '1') end
  local fields = { 'attempts', attempts, 'tries', int(tries), 'responseBytes', answer.response_bytes,
    'masked', answer.masked }
  if answer.state == 'retrying' then
    retry(answer, w, fields)
  else
    finish(answer.ref, r, {
      state = answer.state, outcome = answer.outcome, status = answer.status, error = answer.error,
      result = answer.result, token = answer.token, fields = fields,
    })
  end
  return 'settled'
end

local replies = {}
for index = 1, tonumber(ARGV[5]) do
  local at = 6 + (index - 1) * WIDTH
  replies[index] = settle({
    ref = ARGV[at], token = ARGV[at + 1], state = ARGV[at + 2], outcome = ARGV[at + 3], status = ARGV[at + 4],
    error = ARGV[at + 5], attempt = ARGV[at + 6], response_bytes = ARGV[at + 7], masked = ARGV[at + 8],
    result = ARGV[at + 9], delay = ARGV[at + 10], contacted = ARGV[at + 11],
  })
end
effects_flush()
wake_all(grace)
return { replies, ready }
