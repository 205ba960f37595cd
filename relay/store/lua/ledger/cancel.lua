-- cancel: cancels an invocation that no worker has claimed, and the unsent steps of a waiting chain.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2-5 retention ms: ok, failed, rejected, contents (0: as records)
--       6 plugin ('' for any)  7 reference id  8 actor
-- Returns {cancelled, refused or unknown, state, ready: ref, lane, ...}
--
-- Idempotent except for the audit entry: a cancelled one is answered as the first time. Calls that its end made ready
-- are not returned again, but their alarms ring soon.
-- needs: audit, finish, ready, steps

grace_from(1)
retention_from(2)
local plugin, ref = ARGV[6], ARGV[7]

local function note(r, outcome)
  audit('cancel', ARGV[8], r and r.plugin or plugin, r and r.webhook or '', '', outcome, '', '', ref)
end

local r = read_unsent(ref)
if not r or (plugin ~= '' and r.plugin ~= plugin) then
  note(nil, 'not_found')
  return { 'unknown', '', ready }
end
if r.state == 'cancelled' then
  note(r, 'unchanged')
  return { 'cancelled', r.state, ready }
end
if r.state ~= 'queued' and r.state ~= 'retrying' and r.state ~= 'waiting' then
  note(r, 'conflict')
  return { 'refused', r.state, ready }
end
finish(r, { state = 'cancelled', outcome = '', status = '', error = '', result = '', token = '' })
if r.chain == '1' then cancel_steps(ref) end
note(r, 'cancelled')
flush_all()
return { 'cancelled', 'cancelled', ready }
