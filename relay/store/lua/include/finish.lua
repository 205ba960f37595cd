-- finish: the only way in which an invocation becomes final.
-- Changes together: state and result, alarm, expiry, counters, the webhook's permit, the parent of a last step, and the
-- notices to waiters.
-- needs: alarms, clock, effects, jobs, parking, permits, policy, record, sent, steps, tallies

local NOTICE_RESULT_BYTES = 65536
local retention = { ok = 0, failed = 0, rejected = 0, contents = 0 } -- ms; contents 0: as long as records

local function retention_from(first)
  retention.ok = tonumber(ARGV[first])
  retention.failed = tonumber(ARGV[first + 1])
  retention.rejected = tonumber(ARGV[first + 2])
  retention.contents = tonumber(ARGV[first + 3])
end

local function retention_of(state, failed)
  if state == 'rejected' or state == 'cancelled' then return retention.rejected end
  if failed then return retention.failed end
  return retention.ok
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
local function write_end(r, ends, sent, sums, bytes, keep, expires)
  local fields = ends.fields or {}
  if ends.token ~= r.token then add_field(fields, 'token', ends.token) end
  if r.waiters ~= '' then set_field(fields, 'waiters', '') end
  if r.parked and r.parked ~= '' then set_field(fields, 'parked', '') end
  add_field(fields, 'sent', sent)
  local kept = bytes + #ends.result -- roughly: sealing adds little
  if kept > 0 then
    set_field(fields, 'keptBytes', int(kept))
    sums.kept = sums.kept + kept
  end
  -- What deletes the record and its contents comes first: a script that is stopped leaves no ended call for ever.
  local contents = int(retention.contents > 0 and math.min(keep, retention.contents) or keep)
  redis.call('ZADD', KEY.expiry(), expires, r.ref)
  if ends.result ~= '' then redis.call('SET', KEY.result(r.ref), ends.result, 'PX', contents) end
  redis.call('PEXPIRE', KEY.payload(r.ref), contents)
  if ends.status == '' then
    redis.call('HSET', KEY.record(r.ref), 'state', ends.state, 'outcome', ends.outcome, 'finishedAt', now_text,
      'expiresAt', expires, unpack(fields))
  else
    redis.call('HSET', KEY.record(r.ref), 'state', ends.state, 'outcome', ends.outcome, 'finishedAt', now_text,
      'expiresAt', expires, 'status', ends.status, 'error', ends.error, unpack(fields))
  end
end

-- r: the record before its end: state, plugin, webhook, lane (nil: it has no alarm), requestBytes, waiters, parked,
--    parent, chain, createdAt, callback, replay and attempts; unregistered: the webhook is only a name that a caller used.
-- ends: state, outcome, status, error ('1', '0' or ''), result (sealed, '' for none), token (of the call that ended
--       it, '' for none), fields (further pairs), sent (nil: as its attempts or steps tell).
local function finish(r, ends)
  local ref, t, bytes = r.ref, tally_of(r.plugin, r.webhook), tonumber(r.requestBytes)
  local keep = retention_of(ends.state, ends.error == '1')
  local expires = int(now + keep)
  local sent = (ends.status == '' or ends.status == '0') and (ends.sent or sent_of(r)) or ''
  write_end(r, ends, sent, t.sums, bytes, keep, expires)
  if r.state == 'sending' then release_permit(webhook_of(r.plugin, r.webhook), ref) end
  if r.parked == '1' then unpark_unsent(webhook_of(r.plugin, r.webhook), ref) end
  if r.lane then
    alarm_off(ref, r.lane)
    tally_close(t, ref)
  end
  tally_end(t, r, ends, bytes, r.unregistered and tally_of(r.plugin, '-') or t)
  if r.waiters ~= '' then effect_notice(r.waiters, notice_entry(ref, ends, sent)) end
  if r.chain == '1' then forget_raw(ref) end
  if r.parent ~= '' then step_ended(r.parent) end
  if r.callback ~= '' then effect_callback(ref) end
  if r.replay and r.replay ~= '' then record_job_end(r.replay, ref, ends.state, ends.error) end
end

-- Cancels every step of a chain that has not been sent, including those of chains within it. The chain itself has to be
-- final already, so that these ends do not make it ready again.
local function cancel_steps(parent_ref)
  for _, ref in ipairs(redis.call('LRANGE', KEY.steps(parent_ref), 0, -1)) do
    local r = read_unsent(ref)
    if r and (r.state == 'queued' or r.state == 'retrying' or r.state == 'waiting') then
      finish(r, { state = 'cancelled', outcome = '', status = '', error = '', result = '', token = '' })
      if r.chain == '1' then cancel_steps(ref) end
    end
  end
end

-- Writes everything that was collected; called at the end of every script that makes invocations final.
local function flush_all()
  tallies_flush()
  effects_flush()
  jobs_flush()
  wake_all()
end

-- For a repeated call, whose first reply was lost: finds the ids that the end made ready again.
local function end_again(r)
  wake_one_at_end(webhook_of(r.plugin, r.webhook))
  parent_again(r.parent)
end
