-- finish: the one way an invocation ends.
-- Moves state and result, alarm, expiry, counters, the webhook's place, the parent of a last step and the notices to
-- waiters together.
-- needs: alarms, clock, effects, ends, jobs, measures, places, steps

local NOTICE_RESULT_BYTES = 65536
local retention = { ok = 0, failed = 0, rejected = 0, contents = 0 } -- ms; contents: 0 as records

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

-- ref, state, outcome, status and error ('-' where there is no result), size of the sealed result that follows
-- (0: none, -1: too large for a notice, read it).
local function notice_entry(ref, ends)
  local size = #ends.result
  local body = ends.result
  if size > NOTICE_RESULT_BYTES then size, body = -1, '' end
  local head = { ref, ends.state, ends.outcome, ends.status, ends.error, size }
  for index = 3, 5 do
    if head[index] == '' then head[index] = '-' end
  end
  return table.concat(head, ' ') .. '\n' .. body
end

-- An unfinished record's lease and delay are left as they are: no code looks at them in a final one.
local function write_end(r, ends, keep, expires)
  local fields = ends.fields or {}
  local function add(name, value)
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  if ends.token ~= '' and ends.token ~= r.token then add('token', ends.token) end
  if ends.status ~= '' then add('status', ends.status) end
  if ends.error ~= '' then add('error', ends.error) end
  if r.waiters ~= '' then add('waiters', '') end
  if r.parked and r.parked ~= '' then add('parked', '') end
  local kept = tonumber(r.requestBytes) + #ends.result -- about: sealing adds little
  if kept > 0 then
    add('keptBytes', int(kept))
    effect_kept(r.plugin, kept)
  end
  redis.call('HSET', KEY.record(r.ref), 'state', ends.state, 'outcome', ends.outcome, 'finishedAt', now_text,
    'expiresAt', expires, unpack(fields))
  local contents = int(retention.contents > 0 and math.min(keep, retention.contents) or keep)
  if ends.result ~= '' then redis.call('SET', KEY.result(r.ref), ends.result, 'PX', contents) end
  redis.call('PEXPIRE', KEY.payload(r.ref), contents)
end

-- r: state, plugin, webhook, lane (nil: it has no alarm), requestBytes, waiters, parked, parent, chain, createdAt,
--    callback and replay as they were; unregistered: the webhook is only a name that a caller gave.
-- ends: state, outcome, status, error ('1', '0' or ''), result (sealed, '' for none), token (of the call that ended
--       it, '' for none), fields (further pairs).
local function finish(r, ends)
  local ref = r.ref
  local keep = retention_of(ends.state, ends.error == '1')
  local expires = int(now + keep)
  write_end(r, ends, keep, expires)
  if r.state == 'sending' then leave_place(webhook_of(r.plugin, r.webhook), ref) end
  if r.parked == '1' then leave_line(webhook_of(r.plugin, r.webhook), ref) end
  if r.lane then
    alarm_off(ref, r.lane)
    effect_close(r.plugin, r.webhook, ref)
  end
  effects.expiry[#effects.expiry + 1] = expires
  effects.expiry[#effects.expiry + 1] = ref
  index_end(r.plugin, ends, r.createdAt, ref)
  effect_pending(r.plugin, -1, -tonumber(r.requestBytes))
  effect_count(r.plugin, ends.state)
  measure_end(r.plugin, r.unregistered and '-' or r.webhook, ends.kind, now - tonumber(r.createdAt))
  if r.waiters ~= '' then effect_notice(r.waiters, notice_entry(ref, ends)) end
  if r.chain == '1' then forget_raw(ref) end
  if r.parent ~= '' then step_ended(r.parent) end
  if r.callback ~= '' then effect_callback(ref) end
  if r.replay and r.replay ~= '' then job_hears(r.replay, ref, ends.state, ends.error) end
end

-- Ends every step of a chain that has not been sent, those of chains within it too. The chain itself is final by then,
-- so that none of these ends makes it ready again.
local function cancel_steps(parent_ref)
  for _, ref in ipairs(redis.call('LRANGE', KEY.steps(parent_ref), 0, -1)) do
    local r = read_unsent(ref)
    if r and (r.state == 'queued' or r.state == 'retrying' or r.state == 'waiting') then
      finish(r, { state = 'cancelled', outcome = '', status = '', error = '', result = '', token = '' })
      if r.chain == '1' then cancel_steps(ref) end
    end
  end
end

-- At the end of every script that ends invocations.
local function flush_all()
  measures_flush()
  effects_flush()
  jobs_flush()
  wake_all()
end
