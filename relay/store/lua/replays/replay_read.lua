-- replay_read: reads a job's next originals, with what is needed to make invocations from them. Changes nothing.
--
-- kind: reads
-- KEYS  1 the root of the partition
-- ARGV  1 replay id  2 how many at most  3 bytes of payloads at most (but at least one original)
-- Returns {the job's cursor, {reference id, why it would be skipped or '', webhook, payload, revision, pins}, ...}
-- needs: originals
-- values read_source: revision pins

local id, most, bytes_left = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local f = redis.call('HMGET', KEY.replay(id), 'plugin', 'endedBy', 'uncertain')
local job = { id = id, plugin = f[1], ended_by = tonumber(f[2]), uncertain = f[3] == '1' }
local cursor = redis.call('LLEN', KEY.replay_decided(id))
local refs, reply = redis.call('LRANGE', KEY.replay_ids(id), -cursor - most, -cursor - 1), { cursor }
for index = #refs, 1, -1 do
  local ref = refs[index]
  local why, r = judge_original(ref, job)
  local payload = why and '' or redis.call('GET', KEY.payload(ref))
  bytes_left = bytes_left - #payload
  if #reply > 1 and (bytes_left < 0 or looked_at > MOST_LOOKED_AT) then break end
  local revision, pins = read_source(ref)
  reply[#reply + 1] = { ref, why or '', r and r.webhook or '', payload, revision or '', pins or '' }
end
return reply
