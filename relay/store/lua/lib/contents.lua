-- contents: deletes what an invocation sent and received; the rest of its record stays.

local effects = require('effects')
local KEY = require('keys')

local contents = {}

-- r: its record, with state, plugin and keptBytes; nothing if it is gone. The time when it was first forgotten stays.
function contents.forget(run, ref, r)
  redis.call('DEL', KEY.payload(run, ref), KEY.result(run, ref), KEY.raw(run, ref), KEY.secrets(run, ref))
  if not r then return end
  redis.call('HSETNX', KEY.record(run, ref), 'forgottenAt', run.now_text)
  if r.keptBytes ~= '' then
    effects.sum_kept(run, r.plugin, -tonumber(r.keptBytes))
    redis.call('HDEL', KEY.record(run, ref), 'keptBytes')
  end
end

return contents
