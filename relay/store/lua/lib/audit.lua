-- audit: adds entries to the audit trail, in the same script as the act that they record (form: relay/audit/entry.py).

local KEY = require('keys')

local audit = {}

function audit.add(run, act, who, plugin, subject, revision, outcome, count, sizes, refs)
  redis.call('RPUSH', KEY.audit_entries(run),
    table.concat({ run.now_text, act, who, plugin, subject, revision, outcome, count, sizes, refs }, ' '))
end

local function is_alike(one, who, new, outcome)
  return one.webhook == new.webhook and one.plugin == new.plugin and one.who == who and one.outcome == outcome
    and one.revision == new.revision
end

function audit.add_trigger(run, who, new, outcome, ref)
  local alike = run.last_audited -- the group that the last trigger belonged to
  if not alike or not is_alike(alike, who, new, outcome) then
    local head = table.concat({ ' trigger', who, new.plugin, new.webhook, new.revision, outcome }, ' ')
    run.audited, run.audited_heads = run.audited or {}, run.audited_heads or {}
    if not run.audited[head] then run.audited_heads[#run.audited_heads + 1] = head end
    alike = run.audited[head] or {
      who = who, plugin = new.plugin, webhook = new.webhook, revision = new.revision, outcome = outcome,
      sizes = {}, refs = {},
    }
    run.audited[head], run.last_audited = alike, alike
  end
  alike.sizes[#alike.sizes + 1] = new.requestBytes
  alike.refs[#alike.refs + 1] = ref
end

-- Writes one entry per group of similar triggers; called at the end of a script that noted triggers.
function audit.flush(run)
  if not run.audited_heads then return end
  local entries = {}
  for index, head in ipairs(run.audited_heads) do
    local of_head = run.audited[head]
    entries[index] = run.now_text .. head .. ' ' .. #of_head.refs .. ' ' .. table.concat(of_head.sizes, ',') .. ' '
      .. table.concat(of_head.refs, ',')
  end
  redis.call('RPUSH', KEY.audit_entries(run), unpack(entries))
end

return audit
