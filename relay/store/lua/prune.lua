-- prune: forget final records whose retention has passed, with everything that names them.
--
-- KEYS  none
-- ARGV  1 limit of records
-- Returns how many were forgotten
-- include: clock, effects, record, ends

local FIELDS = { 'plugin', 'webhook', 'state', 'outcome', 'status', 'error' }
local gone = {} -- key of an index -> ids

local function leaves(key, ref)
  gone[key] = gone[key] or {}
  table.insert(gone[key], ref)
end

local old = redis.call('ZRANGEBYSCORE', KEY.expiry(), '-inf', int(now), 'LIMIT', 0, tonumber(ARGV[1]))
for _, ref in ipairs(old) do
  local r = read_record(ref, FIELDS)
  if r then
    leaves(KEY.plugin_index(r.plugin), ref)
    leaves(KEY.webhook_index(r.plugin, r.webhook), ref)
    leaves(KEY.ends(r.plugin, kind_of(r.state, r.outcome, r.status, r.error)), ref)
  end
  leaves(KEY.expiry(), ref)
  redis.call('DEL', KEY.record(ref), KEY.payload(ref), KEY.result(ref), KEY.steps(ref), KEY.raw(ref))
end
for key, refs in pairs(gone) do in_pieces('ZREM', key, refs, 1) end
return #old
