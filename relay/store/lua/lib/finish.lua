-- finish: the only code that makes an invocation final.
-- Changes together: state and result, alarm, expiry, counters, the webhook's permit, the parent of a last step, and the
-- notices to waiters.

local alarms = require('alarms')
local constants = require('constants')
local contents = require('contents')
local effects = require('effects')
local jobs = require('jobs')
local KEY = require('keys')
local int = require('numbers').int
local parking = require('parking')
local permits = require('permits')
local policy = require('policy')
local record = require('record')
local sent = require('sent')
local steps = require('steps')
local tallies = require('tallies')

local finish = {}

local NOTICE_RESULT_BYTES = 65536

function finish.read_retention(run, first)
  local args = run.args
  run.retention = { -- ms
    ok = tonumber(args[first]), failed = tonumber(args[first + 1]), rejected = tonumber(args[first + 2]),
    contents = tonumber(args[first + 3]), -- 0: as long as records
  }
end

local function retention_of(run, state, failed)
  if state == 'rejected' or state == 'cancelled' then return run.retention.rejected end
  if failed then return run.retention.failed end
  return run.retention.ok
end

-- Returns a notice's entry: ref, state, outcome, status, error and sent ('-' if missing), and the size of the sealed
-- result that follows (0: no result; -1: too large for a notice, to be read from the store).
local function notice_entry(ref, ends, sent)
  local size = #ends.result
  local body = ends.result
  if size > NOTICE_RESULT_BYTES then size, body = -1, '' end
  local head = { ref, ends.state, ends.outcome, ends.status, ends.error, sent, size }
  for index = 3, 6 do
    if head[index] == '' then head[index] = '-' end
  end
  return table.concat(head, ' ') .. '\n' .. body
end

-- Writes the fields of a final record. Lease and delay stay as they are: no code reads them in a final record.
local function write_end(run, r, ends, sent, sums, bytes, keep, expires)
  local fields = ends.fields or {}
  if ends.token ~= r.token then record.add_field(fields, 'token', ends.token) end
  if r.waiters ~= '' then record.set_field(fields, 'waiters', '') end
  if r.parked and r.parked ~= '' then record.set_field(fields, 'parked', '') end
  record.add_field(fields, 'sent', sent)
  local kept = bytes + #ends.result -- roughly: sealing adds little
  if kept > 0 then
    record.set_field(fields, 'keptBytes', int(kept))
    sums.kept = sums.kept + kept
  end
  -- What deletes the record and its contents comes first: then a script that is stopped leaves no ended call for ever.
  local contents_keep = run.retention.contents > 0 and math.min(keep, run.retention.contents) or keep
  redis.call('ZADD', KEY.expiry(run), expires, r.ref)
  if kept > 0 and contents_keep < keep then
    redis.call('ZADD', KEY.expiry(run), int(run.now + contents_keep), contents.PREFIX .. r.ref)
  end
  if ends.result ~= '' then redis.call('SET', KEY.result(run, r.ref), ends.result, 'PX', int(contents_keep)) end
  redis.call('PEXPIRE', KEY.payload(run, r.ref), int(contents_keep))
  if ends.status == '' then
    redis.call('HSET', KEY.record(run, r.ref), 'state', ends.state, 'outcome', ends.outcome, 'finishedAt', run.now_text,
      'expiresAt', expires, unpack(fields))
  else
    redis.call('HSET', KEY.record(run, r.ref), 'state', ends.state, 'outcome', ends.outcome, 'finishedAt', run.now_text,
      'expiresAt', expires, 'status', ends.status, 'error', ends.error, unpack(fields))
  end
end

-- r: the record before its end: state, plugin, webhook, lane (nil: it has no alarm), requestBytes, waiters, parked,
--    parent, chain, createdAt, callback, replay and attempts; unregistered: the webhook is only a name that a caller used.
-- ends: state, outcome, status, error ('1', '0' or ''), result (sealed, '' for none), token (of the call that ended
--       it, '' for none), fields (further pairs), sent (nil: as its attempts or steps show).
function finish.call(run, r, ends)
  local ref, t, bytes = r.ref, tallies.of(run, r.plugin, r.webhook), tonumber(r.requestBytes)
  local keep = retention_of(run, ends.state, ends.error == '1')
  local expires = int(run.now + keep)
  local was_sent = (ends.status == '' or ends.status == '0') and (ends.sent or sent.of(run, r)) or ''
  write_end(run, r, ends, was_sent, t.sums, bytes, keep, expires)
  if r.state == 'sending' then permits.release(run, policy.of(run, r.plugin, r.webhook), ref) end
  if r.parked == '1' then parking.unpark_unsent(run, policy.of(run, r.plugin, r.webhook), ref) end
  if r.lane then
    alarms.unset(run, ref, r.lane)
    tallies.close(t, ref)
  end
  tallies.add_end(run, t, r, ends, bytes, r.unregistered and tallies.of(run, r.plugin, '-') or t)
  if r.waiters ~= '' then effects.add_notice(run, r.waiters, notice_entry(ref, ends, was_sent)) end
  if r.chain == '1' then steps.forget_raw(run, ref) end
  if r.parent ~= '' then steps.count_end(run, r.parent) end
  if r.callback ~= '' then effects.add_callback(run, ref) end
  if r.replay and r.replay ~= '' then jobs.record_end(run, r.replay, ref, ends.state, ends.error) end
end

-- Ends a call with an answer; `raw`: the part of a step's answer that its chain needs, sealed, '' for none.
function finish.with_answer(run, r, ends, raw)
  if record.is_over(run, r.parent) then ends.result, raw = '', '' end -- the texts to hide are no longer known
  if raw ~= '' then redis.call('SET', KEY.raw(run, r.ref), raw, 'PX', constants.CHAIN_KEPT_MS) end
  finish.call(run, r, ends)
end

-- Cancels every step of a chain that has not been sent, including those of chains within it. The chain itself has to be
-- final already, so that these ends do not make it ready again.
function finish.cancel_steps(run, parent_ref)
  for _, ref in ipairs(redis.call('LRANGE', KEY.steps(run, parent_ref), 0, -1)) do
    local r = steps.read_unsent(run, ref)
    if r and (r.state == 'queued' or r.state == 'retrying' or r.state == 'waiting') then
      finish.call(run, r, { state = 'cancelled', outcome = '', status = '', error = '', result = '', token = '' })
      if r.chain == '1' then finish.cancel_steps(run, ref) end
    end
  end
end

-- Writes everything that was collected; called at the end of every script that makes invocations final.
function finish.flush(run)
  tallies.flush(run)
  effects.flush(run)
  jobs.flush(run)
  parking.wake_all(run)
end

-- For a repeated call, whose first reply was lost: finds the ids that the end made ready again.
function finish.again(run, r)
  permits.wake_one_at_end(policy.of(run, r.plugin, r.webhook))
  steps.parent_again(run, r.parent)
end

return finish
