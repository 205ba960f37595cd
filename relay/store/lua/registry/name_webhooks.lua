-- name_webhooks: decides for good which webhooks metrics name individually: the first ones passed in.
--
-- KEYS  1 the root of the shared keys
-- ARGV  1 how many may be named  2... plugin/webhook, in the order in which free names are given out
-- Returns those of the given webhooks that are named
--
-- Idempotent. A name is never withdrawn: its counters would decrease.

local KEY = require('keys')

local function main(run)
  local most, named, names = tonumber(run.args[1]), redis.call('HLEN', KEY.named_webhooks(run)), {}
  for index = 2, #run.args do
    local position = tonumber(redis.call('HGET', KEY.named_webhooks(run), run.args[index]) or '')
    if not position and named < most then
      position = named
      redis.call('HSET', KEY.named_webhooks(run), run.args[index], position)
      named = named + 1
    end
    if position and position < most then names[#names + 1] = run.args[index] end
  end
  return names
end

return { kind = 'counts', is_shared = true, run = main }
