-- rows: what a worker needs to prepare a call.
--
-- A row: {state, plugin, webhook, revision, current revision or '', payload or '', traceparent, timeout_ms, lane,
-- attempts so far, losses, full ('1': its webhook has no place now, and its payload is left out, but for a chain's: its
-- steps need it)}, and of a chain or a chain's step also {chain ('1' for one), pins, parent, parentStep ('' for none)};
-- nothing (nil) for an unknown id.
-- needs: places, record, revisions
-- record read_for_row: state plugin webhook revision traceparent timeout lane attempts losses chain parent

local function row_of(ref)
  local r = read_for_row(ref)
  if not r then return false end
  local tries = r.attempts == '' and 0 or select(2, string.gsub(r.attempts, '%]', ''))
  local full = room(webhook_of(r.plugin, r.webhook)) < 1
  local row = {
    r.state, r.plugin, r.webhook, r.revision, current_revision(r.plugin, r.webhook),
    (not full or r.chain == '1') and redis.call('GET', KEY.payload(ref)) or '', r.traceparent, r.timeout, r.lane, tries, number(r.losses),
    full and '1' or '',
  }
  if r.chain == '' and r.parent == '' then return row end
  local more = redis.call('HMGET', KEY.record(ref), 'pins', 'parentStep')
  row[13], row[14], row[15], row[16] = r.chain, more[1] or '', r.parent, more[2] or ''
  return row
end
