-- contents: deletes what an invocation sent and received; the rest of its record stays.
--
-- Contents that are kept for less long than their record go by themselves. Their bytes count until the sweep finds the
-- record's id, with a prefix, among those whose time is over.

local effects = require('effects')
local KEY = require('keys')

local contents = {}

contents.PREFIX = 'contents-'

-- Counts the bytes of a record's contents no longer.
function contents.count_gone(run, ref, r)
  if r.keptBytes == '' then return end
  effects.sum_kept(run, r.plugin, -tonumber(r.keptBytes))
  redis.call('HDEL', KEY.record(run, ref), 'keptBytes')
end

-- r: its record, with state, plugin and keptBytes; nothing if it is gone. The time when it was first forgotten stays.
function contents.forget(run, ref, r)
  redis.call('DEL', KEY.payload(run, ref), KEY.result(run, ref), KEY.raw(run, ref), KEY.secrets(run, ref))
  if not r then return end
  redis.call('HSETNX', KEY.record(run, ref), 'forgottenAt', run.now_text)
  contents.count_gone(run, ref, r)
end

return contents
