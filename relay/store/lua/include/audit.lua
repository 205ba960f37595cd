-- audit: adds to the audit trail, in the very scripts that do what an entry tells of (relay/audit/entry.py has the form).
-- needs: clock

local audited = {} -- of triggers alike (one caller, webhook, revision and outcome): their sizes and references
local audited_heads = {}

local function audit(act, who, plugin, subject, revision, outcome, count, sizes, refs)
  redis.call('RPUSH', KEY.audit_entries(),
    table.concat({ now_text, act, who, plugin, subject, revision, outcome, count, sizes, refs }, ' '))
end

local function audit_trigger(who, new, outcome, ref)
  local head = table.concat({ ' trigger', who, new.plugin, new.webhook, new.revision, outcome }, ' ')
  local alike = audited[head]
  if not alike then
    alike = { sizes = {}, refs = {} }
    audited[head] = alike
    audited_heads[#audited_heads + 1] = head
  end
  alike.sizes[#alike.sizes + 1] = new.requestBytes
  alike.refs[#alike.refs + 1] = ref
end

-- At the end of a script that has noted triggers: one entry of those that are alike.
local function audit_flush()
  if not audited_heads[1] then return end
  local entries = {}
  for index, head in ipairs(audited_heads) do
    local alike = audited[head]
    entries[index] = now_text .. head .. ' ' .. #alike.refs .. ' ' .. table.concat(alike.sizes, ',') .. ' '
      .. table.concat(alike.refs, ',')
  end
  redis.call('RPUSH', KEY.audit_entries(), unpack(entries))
end
