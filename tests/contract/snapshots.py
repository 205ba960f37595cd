"""Reads, saves and restores a whole store with one command each, because tests that explore many stores do so often."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

#: Reads keys and values as sorted plain text, because hashes and sets have no reliable order.
_TELL = """
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
local keys, told = redis.call('KEYS', '*'), {}
table.sort(keys)
for _, key in ipairs(keys) do
  local compared = true
  for _, suffix in ipairs(ARGV) do compared = compared and string.sub(key, -#suffix) ~= suffix end
  if compared then told[#told + 1] = { key, readers[redis.call('TYPE', key)['ok']](key) } end
end
"""
_READ = f"{_TELL} return told"
_DIGEST = f"{_TELL} return redis.sha1hex(cmsgpack.pack(told))"
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
    """Return each key's value; equal stores give equal results."""
    return {key: _frozen(value) for key, value in client.eval(_READ, 0)}


def digest(client: redis.Redis, without: Sequence[str] = ()) -> str:
    """Return a digest of all keys and values, leaving out keys that end in one of ``without``; equal if stores are."""
    return client.eval(_DIGEST, 0, *without)


def keep(client: redis.Redis) -> bytes:
    """Return the whole store for `put_back`; needs a real server, because a script on the fake cannot dump keys."""
    return client.eval(_KEEP, 0)


def put_back(client: redis.Redis, kept: bytes) -> None:
    """Restore a store that `keep` has returned."""
    client.eval(_PUT_BACK, 0, kept)


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
