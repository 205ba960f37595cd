-- contents: destroys what an invocation sent and got; the rest of its record stays.
-- needs: clock, effects

-- r: its record, with state, plugin and keptBytes; nothing if it is gone. The first time at which it was forgotten stays.
local function forget_contents(ref, r)
  redis.call('DEL', KEY.payload(ref), KEY.result(ref), KEY.raw(ref), KEY.secrets(ref))
  if not r then return end
  redis.call('HSETNX', KEY.record(ref), 'forgottenAt', int(now))
  if r.keptBytes ~= '' then
    sum_kept(r.plugin, -tonumber(r.keptBytes))
    redis.call('HDEL', KEY.record(ref), 'keptBytes')
  end
end
