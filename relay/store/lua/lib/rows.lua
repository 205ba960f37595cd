-- rows: reads what a worker needs to prepare a call.
--
-- A row is two texts. The first holds, separated by spaces: state, plugin, webhook, revision, current revision or '',
-- traceparent, timeout_ms, lane, number of attempts, losses, full ('1': its webhook has no permit now), chain (for one,
-- how many calls its steps have made), parent, parentStep and pins ('' for none). The second is the payload; '' if full,
-- except for a chain, whose steps need it. Both are '' for an unknown id.

local constants = require('constants')
local damage = require('damage')
local fields = require('fields')
local KEY = require('keys')
local numbers = require('numbers')
local permits = require('permits')
local policy = require('policy')
local record = require('record')
local revisions = require('revisions')
local number, whole = numbers.number, numbers.whole

local rows = {}

-- Like `fields.values`, but written out, which is faster: every call is read this way.
local function read_for_row(run, ref)
  local f = fields.read(run, ref, 'state', 'plugin', 'webhook', 'revision', 'traceparent', 'timeout', 'lane',
    'attempts', 'losses', 'root')
  return f[1], f[2], f[3], whole(f[4]), f[5], whole(f[6]) or f[1] and '0',
    constants.IS_LANE[f[7]] and f[7] or f[1] and constants.LAST_LANE, f[8], whole(f[9]), f[10]
end

local MOST_ROW_BYTES = 262144 -- of what may be run now

local function readable_row_of(run, ref)
  local state, plugin, webhook, revision, traceparent, timeout, lane, attempts, losses, root = read_for_row(run, ref)
  if not state then return '', '' end
  local tries = attempts and select(2, string.gsub(attempts, '%]', '')) or 0
  plugin, webhook = plugin or '', webhook or ''
  local full = permits.capacity(run, policy.of(run, plugin, webhook)) < 1
  local position = record.chain_position(run, ref, root)
  local is_chain = position.chain == '1'
  local text = state .. ' ' .. plugin .. ' ' .. webhook .. ' ' .. (revision or '') .. ' '
    .. revisions.current(run, plugin, webhook) .. ' ' .. (traceparent or '') .. ' ' .. (timeout or '')
    .. ' ' .. (lane or '') .. ' ' .. tries .. ' ' .. number(losses) .. (full and ' 1 ' or '  ')
    .. (is_chain and redis.call('LLEN', KEY.steps(run, ref)) or '') .. ' ' .. position.parent
    .. ' ' .. position.parentStep .. ' ' .. position.pins
  return text, (not full or is_chain) and redis.call('GET', KEY.payload(run, ref)) or ''
end

-- Returns a call's row; as for an unknown id, '' if something that belongs to the call is damaged.
function rows.row_of(run, ref)
  local is_whole, text, payload = damage.try(readable_row_of, run, ref)
  if is_whole then return text, payload end
  return '', ''
end

-- Returns the rows of these ids in order, but stops once their payloads exceed `bytes_left`.
function rows.of(run, refs, bytes_left)
  local found = {}
  for _, ref in ipairs(refs) do
    if bytes_left < 0 then break end
    local text, payload = rows.row_of(run, ref)
    found[#found + 1] = text
    found[#found + 1] = payload
    bytes_left = bytes_left - #payload
  end
  return found
end

-- Returns the rows of the first ids that may be run now, as the asking worker is likely to run them.
function rows.of_ready(run)
  local refs = {}
  for index = 1, math.min(#run.ready, 2 * constants.GROUP_IDS), 2 do refs[#refs + 1] = run.ready[index] end
  return rows.of(run, refs, MOST_ROW_BYTES)
end

return rows
