-- rows: reads what a worker needs to prepare a call.
--
-- A row is two texts. The first holds, separated by spaces: state, plugin, webhook, revision, current revision or '',
-- traceparent, timeout_ms, lane, number of attempts, losses, full ('1': its webhook has no permit now), chain ('1' for
-- one), parent, parentStep and pins ('' for none). The second is the payload; '' if full, except for a chain, whose
-- steps need it. Both are '' for an unknown id.
-- needs: clock, permits, policy, ready, record, revisions
-- values read_for_row: state plugin webhook revision traceparent timeout lane attempts losses root

local MOST_ROWS, MOST_ROW_BYTES = 32, 262144 -- of what may be run now

local function readable_row_of(ref)
  local state, plugin, webhook, revision, traceparent, timeout, lane, attempts, losses, root = read_for_row(ref)
  if not state then return '', '' end
  local tries = attempts and select(2, string.gsub(attempts, '%]', '')) or 0
  plugin, webhook = plugin or '', webhook or ''
  local full = capacity(webhook_of(plugin, webhook)) < 1
  local position = chain_position(ref, root)
  local text = state .. ' ' .. plugin .. ' ' .. webhook .. ' ' .. (revision or '') .. ' '
    .. current_revision(plugin, webhook) .. ' ' .. (traceparent or '') .. ' ' .. (timeout or '') .. ' ' .. (lane or '')
    .. ' ' .. tries .. ' ' .. number(losses) .. (full and ' 1 ' or '  ') .. position.chain .. ' ' .. position.parent .. ' '
    .. position.parentStep .. ' ' .. position.pins
  return text, (not full or position.chain == '1') and redis.call('GET', KEY.payload(ref)) or ''
end

-- Returns a call's row; '', as for an unknown id, if something that belongs to the call is damaged.
local function row_of(ref)
  local is_whole, text, payload = try(readable_row_of, ref)
  if is_whole then return text, payload end
  return '', ''
end

-- Returns the rows of these ids in order, but stops once their payloads exceed `bytes_left`.
local function rows_of(refs, bytes_left)
  local rows = {}
  for _, ref in ipairs(refs) do
    if bytes_left < 0 then break end
    local text, payload = row_of(ref)
    rows[#rows + 1] = text
    rows[#rows + 1] = payload
    bytes_left = bytes_left - #payload
  end
  return rows
end

-- Returns the rows of the first ids that may be run now, as the asking worker is likely to run them.
local function rows_of_ready()
  local refs = {}
  for index = 1, math.min(#ready, 2 * MOST_ROWS), 2 do refs[#refs + 1] = ready[index] end
  return rows_of(refs, MOST_ROW_BYTES)
end
