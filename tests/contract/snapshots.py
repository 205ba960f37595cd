"""A whole store read, kept and put back by one command each: what explores many stores does that most of the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import redis

#: Values as plain text, in an order of their own: a hash or a set has none that anybody may rely on.
_READ = """
local readers = {
  hash = function(key)
    local flat, fields, told = redis.call('HGETALL', key), {}, {}
    for index = 1, #flat, 2 do fields[#fields + 1] = { flat[index], flat[index + 1] } end
    table.sort(fields, function(one, other) return one[1] < other[1] end)
    for _, field in ipairs(fields) do
      told[#told + 1] = field[1]
      told[#told + 1] = field[2]
    end
    return told
  end,
  string = function(key) return redis.call('GET', key) end,
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
  set = function(key)
    local members = redis.call('SMEMBERS', key)
    table.sort(members)
    return members
  end,
}
local told = {}
for index, key in ipairs(redis.call('KEYS', '*')) do
  told[index] = { key, readers[redis.call('TYPE', key)['ok']](key) }
end
return told
"""
_KEEP = """
local kept = {}
for index, key in ipairs(redis.call('KEYS', '*')) do
  kept[index] = { key, redis.call('PEXPIRETIME', key), redis.call('DUMP', key) }
end
return cmsgpack.pack(kept)
"""
_PUT_BACK = """
redis.call('FLUSHALL')
for _, each in ipairs(cmsgpack.unpack(ARGV[1])) do
  redis.call('RESTORE', each[1], math.max(0, each[2]), each[3], 'ABSTTL')
end
"""


def everything(client: redis.Redis) -> dict[bytes, object]:
    """Each key's value, so that equal stores give equal ones."""
    return {key: _frozen(value) for key, value in sorted(client.eval(_READ, 0))}


def keep(client: redis.Redis) -> bytes:
    """The whole store, for `put_back`; of a real server, because the fake has no dumps that a script may take."""
    return client.eval(_KEEP, 0)


def put_back(client: redis.Redis, kept: bytes) -> None:
    """Makes the store what it was."""
    client.eval(_PUT_BACK, 0, kept)


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
