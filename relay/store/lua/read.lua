-- read: what a worker needs to prepare calls; changes nothing.
--
-- KEYS  none
-- ARGV  the reference ids
-- Returns per id: nothing (nil) for an unknown id, else {state, plugin, webhook, revision, current revision or '',
--         payload or '', traceparent, timeout_ms, lane, tries (attempts so far)}

local replies = {}
for index, ref in ipairs(ARGV) do
  local record = redis.call('HMGET', KEY.record(ref), 'state', 'plugin', 'webhook', 'revision', 'traceparent',
    'timeout', 'lane', 'tries')
  replies[index] = false
  if record[1] then
    replies[index] = {
      record[1], record[2], record[3], record[4], redis.call('HGET', KEY.webhooks(record[2]), record[3]) or '',
      redis.call('GET', KEY.payload(ref)) or '', record[5], record[6], record[7], record[8],
    }
  end
end
return replies
