-- replay_read: reads a job's next originals, with what is needed to make invocations from them. Changes nothing.
--
-- KEYS  1 the root of the partition
-- ARGV  1 replay id  2 how many at most  3 bytes of payloads at most (but at least one original)
-- Returns {the job's cursor, {reference id, why it would be skipped or '', webhook, payload, revision, pins}, ...}

local fields = require('fields')
local KEY = require('keys')
local originals = require('originals')

local read_source = fields.values('revision', 'pins')

local function main(run)
  local id, most, bytes_left = run.args[1], tonumber(run.args[2]), tonumber(run.args[3])
  local f = redis.call('HMGET', KEY.replay(run, id), 'plugin', 'endedBy', 'uncertain')
  local job = { id = id, plugin = f[1], ended_by = tonumber(f[2]), uncertain = f[3] == '1' }
  local cursor = redis.call('LLEN', KEY.replay_decided(run, id))
  local refs, reply = redis.call('LRANGE', KEY.replay_ids(run, id), -cursor - most, -cursor - 1), { cursor }
  for index = #refs, 1, -1 do
    local ref = refs[index]
    local why, r = originals.judge(run, ref, job)
    local payload = why and '' or redis.call('GET', KEY.payload(run, ref))
    bytes_left = bytes_left - #payload
    if #reply > 1 and (bytes_left < 0 or run.looked_at > originals.MOST_LOOKED_AT) then break end
    local revision, pins = read_source(run, ref)
    reply[#reply + 1] = { ref, why or '', r and r.webhook or '', payload, revision or '', pins or '' }
  end
  return reply
end

return { kind = 'reads', run = main }
