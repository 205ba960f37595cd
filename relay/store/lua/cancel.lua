-- cancel: an operator stops an invocation that no worker has taken; of a chain that waits, its unsent steps too.
--
-- KEYS  none
-- ARGV  1 grace_ms  2-4 retention ms: ok, failed, rejected  5 plugin ('' for any)  6 reference id
-- Returns {cancelled, refused or unknown, state, ready: ref, lane, ...}
--
-- Idempotent: a cancelled one is answered as the first time, with those whom its end had made ready too.
-- include: clock, effects, alarms, record, places, steps, ends, finish

grace_from(1)
retention_from(2)
local plugin, ref = ARGV[5], ARGV[6]

local r = read_record(ref, STEP_FIELDS)

local function cancelled_before()
  pass_on(webhook_of(r.plugin, r.webhook))
  parent_again(r.parent)
  wake_all()
  return { 'cancelled', r.state, ready }
end

if not r or (plugin ~= '' and r.plugin ~= plugin) then return { 'unknown', '', ready } end
if r.state == 'cancelled' then return cancelled_before() end
if r.state ~= 'queued' and r.state ~= 'retrying' and r.state ~= 'waiting' then return { 'refused', r.state, ready } end
if r.parked ~= '1' then pass_on(webhook_of(r.plugin, r.webhook)) end -- as a repeated call does, which cannot tell
finish(r, { state = 'cancelled', outcome = '', status = '', error = '', result = '', token = '' })
if r.chain == '1' then cancel_steps(ref) end
effects_flush()
wake_all()
return { 'cancelled', 'cancelled', ready }
