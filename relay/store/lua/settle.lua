-- settle: record what came of n attempts.
--
-- KEYS  none
-- ARGV  1-3 retention ms: ok, failed, rejected  4 n, then n times:
--       ref token state outcome status error attempt responseBytes masked result
--       (status and error '' without a result; attempt '' where none was made; result sealed, '' for none)
-- Returns per result: settled, or late (somebody else has the call, or ended it: counted, kept as lateAnswer)
--
-- Idempotent: a token that left `sending` is lastToken, and is answered as the first time.
-- include: clock, effects, finish

local now = now_ms()
retention_from(1)

-- A refused answer is no result, but it is evidence: kept, and counted once.
local function late(ref, r, answer)
  local note = string.format('%s %s %s', answer.token, answer.outcome, answer.status)
  if r.late ~= note then
    redis.call('HSET', KEY.record(ref), 'lateAnswer', note)
    effect_count(r.plugin, 'late')
  end
  return 'late'
end

local function settle(answer)
  local f = redis.call('HMGET', KEY.record(answer.ref), 'state', 'token', 'lastToken', 'plugin', 'webhook',
    'requestBytes', 'waiters', 'attempts', 'lateAnswer')
  if not f[1] then return 'late' end
  local r = { plugin = f[4], webhook = f[5], requestBytes = f[6], waiters = f[7], late = f[9] }
  if f[3] == answer.token then return 'settled' end
  if f[1] ~= 'sending' or f[2] ~= answer.token then return late(answer.ref, r, answer) end
  local attempts = f[8]
  if answer.attempt ~= '' then
    attempts = attempts == '' and answer.attempt or (attempts .. ',' .. answer.attempt)
  end
  finish(now, answer.ref, r, {
    state = answer.state, outcome = answer.outcome, status = answer.status, error = answer.error,
    result = answer.result, token = answer.token,
    fields = { 'attempts', attempts, 'responseBytes', answer.responseBytes, 'masked', answer.masked },
  })
  return 'settled'
end

local replies = {}
for index = 1, tonumber(ARGV[4]) do
  local at = 5 + (index - 1) * 10
  replies[index] = settle({
    ref = ARGV[at], token = ARGV[at + 1], state = ARGV[at + 2], outcome = ARGV[at + 3], status = ARGV[at + 4],
    error = ARGV[at + 5], attempt = ARGV[at + 6], responseBytes = ARGV[at + 7], masked = ARGV[at + 8],
    result = ARGV[at + 9],
  })
end
effects_flush()
return replies
