-- read: what a worker needs to prepare calls; changes nothing.
--
-- KEYS  none
-- ARGV  the reference ids
-- Returns per id: nothing (nil) for an unknown id, else {state, plugin, webhook, revision, current revision or '',
--         payload or '', traceparent, timeout_ms, lane, attempts so far, losses}, and of a chain or a chain's step also
--         {chain ('1' for one), pins, parent, parentStep ('' for none)}

-- include: clock, effects, record
-- record read_call: state plugin webhook revision traceparent timeout lane attempts losses chain parent

local revisions = {} -- plugin:webhook -> its current one, or ''

local function current_revision(plugin, webhook)
  local name = plugin .. ':' .. webhook
  revisions[name] = revisions[name] or redis.call('HGET', KEY.webhooks(plugin), webhook) or ''
  return revisions[name]
end

local function reply(r)
  local tries = r.attempts == '' and 0 or select(2, string.gsub(r.attempts, '%]', ''))
  local row = {
    r.state, r.plugin, r.webhook, r.revision, current_revision(r.plugin, r.webhook),
    redis.call('GET', KEY.payload(r.ref)) or '', r.traceparent, r.timeout, r.lane, tries, number(r.losses),
  }
  if r.chain == '' and r.parent == '' then return row end
  local more = redis.call('HMGET', KEY.record(r.ref), 'chain', 'pins', 'parent', 'parentStep')
  for index = 1, 4 do row[#row + 1] = more[index] or '' end
  return row
end

local replies = {}
for index, ref in ipairs(ARGV) do
  local r = read_call(ref)
  replies[index] = r and reply(r) or false
end
return replies
