-- audit: adds entries to the audit trail, in the same script as the act that they record (form: relay/audit/entry.py).
-- needs: clock

local audited = {} -- by caller, webhook, revision and outcome: the sizes and references of such triggers
local audited_heads = {}
local alike = nil -- the group that the last trigger belonged to

local function audit(act, who, plugin, subject, revision, outcome, count, sizes, refs)
  redis.call('RPUSH', KEY.audit_entries(),
    table.concat({ now_text, act, who, plugin, subject, revision, outcome, count, sizes, refs }, ' '))
end

local function is_alike(one, who, new, outcome)
  return one.webhook == new.webhook and one.plugin == new.plugin and one.who == who and one.outcome == outcome
    and one.revision == new.revision
end

local function audit_trigger(who, new, outcome, ref)
  if not alike or not is_alike(alike, who, new, outcome) then
    local head = table.concat({ ' trigger', who, new.plugin, new.webhook, new.revision, outcome }, ' ')
    if not audited[head] then audited_heads[#audited_heads + 1] = head end
    alike = audited[head] or {
      who = who, plugin = new.plugin, webhook = new.webhook, revision = new.revision, outcome = outcome,
      sizes = {}, refs = {},
    }
    audited[head] = alike
  end
  alike.sizes[#alike.sizes + 1] = new.requestBytes
  alike.refs[#alike.refs + 1] = ref
end

-- Writes one entry per group of similar triggers; called at the end of a script that noted triggers.
local function audit_flush()
  if not audited_heads[1] then return end
  local entries = {}
  for index, head in ipairs(audited_heads) do
    local of_head = audited[head]
    entries[index] = now_text .. head .. ' ' .. #of_head.refs .. ' ' .. table.concat(of_head.sizes, ',') .. ' '
      .. table.concat(of_head.refs, ',')
  end
  redis.call('RPUSH', KEY.audit_entries(), unpack(entries))
end
