-- read: what a worker needs to prepare calls; changes nothing.
--
-- KEYS  none
-- ARGV  the reference ids
-- Returns per id: nothing (nil) for an unknown id, else {state, plugin, webhook, revision, current revision or '',
--         payload or '', traceparent, timeout_ms, lane, tries (attempts so far), chain ('1' for one), pins, parent,
--         root, caller, losses, parentStep ('' for none)}

-- include: clock, effects, record
-- record read_call: state plugin webhook revision traceparent timeout lane tries chain
--   pins parent root caller losses parentStep

local replies = {}
for index, ref in ipairs(ARGV) do
  local r = read_call(ref)
  replies[index] = r and {
    r.state, r.plugin, r.webhook, r.revision, redis.call('HGET', KEY.webhooks(r.plugin), r.webhook) or '',
    redis.call('GET', KEY.payload(ref)) or '', r.traceparent, r.timeout, r.lane, r.tries, r.chain, r.pins, r.parent,
    r.root, r.caller, r.losses, r.parentStep,
  } or false
end
return replies
