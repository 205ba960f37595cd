-- cancel: cancels an invocation that no worker has claimed, and the unsent steps of a waiting chain.
--
-- KEYS  1 the root of the partition
-- ARGV  1 grace_ms  2-5 retention ms: ok, failed, rejected, contents (0: as records)
--       6 plugin ('' for any)  7 reference id  8 actor
-- Returns {cancelled, refused or unknown, state, ready: ref, lane, ...}
--
-- Idempotent except for the audit entry: a cancelled invocation is answered as the first time. Calls that its end made
-- ready are not returned again, but their alarms ring soon.

local audit = require('audit')
local finish = require('finish')
local ready = require('ready')
local steps = require('steps')

local function note(run, r, outcome)
  audit.add(run, 'cancel', run.args[8], r and r.plugin or run.plugin, r and r.webhook or '', '', outcome, '', '', run.ref)
end

local function main(run)
  ready.read_grace(run, 1)
  finish.read_retention(run, 2)
  run.plugin, run.ref = run.args[6], run.args[7]

  local r = steps.read_unsent(run, run.ref)
  if not r or (run.plugin ~= '' and r.plugin ~= run.plugin) then
    note(run, nil, 'not_found')
    return { 'unknown', '', run.ready }
  end
  if r.state == 'cancelled' then
    note(run, r, 'unchanged')
    return { 'cancelled', r.state, run.ready }
  end
  if r.state ~= 'queued' and r.state ~= 'retrying' and r.state ~= 'waiting' then
    note(run, r, 'conflict')
    return { 'refused', r.state, run.ready }
  end
  finish.call(run, r, { state = 'cancelled', outcome = '', status = '', error = '', result = '', token = '' })
  if r.chain == '1' then finish.cancel_steps(run, run.ref) end
  note(run, r, 'cancelled')
  finish.flush(run)
  return { 'cancelled', 'cancelled', run.ready }
end

return { kind = 'confirms', is_fenced = true, run = main }
