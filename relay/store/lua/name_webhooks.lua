-- name_webhooks: decides which webhooks metrics name, once for all: the first ones that are brought here.
--
-- KEYS  1 the root of the shared keys
-- ARGV  1 how many may be named  2... plugin/webhook, in the order of their claim to a name
-- Returns those of them that are named
--
-- Idempotent. A name is never taken back: counters under it would go back with it.

local most, named, names = tonumber(ARGV[1]), redis.call('HLEN', KEY.named_webhooks()), {}
for index = 2, #ARGV do
  local place = tonumber(redis.call('HGET', KEY.named_webhooks(), ARGV[index]) or '')
  if not place and named < most then
    place = named
    redis.call('HSET', KEY.named_webhooks(), ARGV[index], place)
    named = named + 1
  end
  if place and place < most then names[#names + 1] = ARGV[index] end
end
return names
