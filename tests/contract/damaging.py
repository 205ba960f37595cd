"""Generates damages to a store that has a key of every kind, and reads the damaged store through every route and command."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay.store.keys.names import PARTITIONED, SHARED, TRAIL

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

#: What a field or member is replaced with; None: it is missing.
VALUES: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "text": b"pl\x1b[31mnted \xe2\x80\xae",
    "negative": b"-7",
    "huge": b"9" * 400,
    "not finite": b"1e999",
    "binary": b"\xff\xfe\x00",
    "cut JSON": b'{"id": ',
    "other JSON": b"[null, {}]",
}
_SEGMENT = re.compile(r"\\\{\w+\\\}")


@dataclass(frozen=True)
class Damage:
    """One change: of which kind of key, where in its value, and to what."""

    kind: str
    key: bytes
    place: bytes | None  # a field or member; None: the whole value
    value: str

    def __str__(self) -> str:
        place = "" if self.place is None else self.place.decode("utf-8", "replace")
        return f"{self.kind} {place} {self.value}"

    def do(self, client: redis.Redis) -> None:  # noqa: PLR0912 - a case for each type of value
        new = VALUES.get(self.value, b"")
        kind = client.type(self.key)
        if self.value == "another type":
            client.delete(self.key)
            if kind == b"hash":
                client.rpush(self.key, "planted")
            else:
                client.hset(self.key, "planted", "planted")
        elif self.place is None:
            if new is None:
                client.delete(self.key)
            else:
                client.set(self.key, new)
        elif kind == b"hash":
            if new is None:
                client.hdel(self.key, self.place)
            else:
                client.hset(self.key, self.place, new)
        elif kind == b"list":
            client.lset(self.key, client.lrange(self.key, 0, -1).index(self.place), new or b"")
        elif kind == b"set":
            client.srem(self.key, self.place)
            client.sadd(self.key, new or b"")
        else:
            score = client.zscore(self.key, self.place)
            if self.value in ("negative", "not finite"):
                client.zadd(self.key, {self.place: "-7" if self.value == "negative" else "inf"})
            else:
                client.zrem(self.key, self.place)
                client.zadd(self.key, {new or b"": score})


def kinds_of(client: redis.Redis) -> dict[str, list[bytes]]:
    """Return the store's keys by kind."""
    found: dict[str, list[bytes]] = {}
    keys = sorted(client.keys("relay:*"))
    for kind, template in {**PARTITIONED, **SHARED, **TRAIL}.items():
        pattern = re.compile(
            rb"relay:\{\w+\}:"
            + _SEGMENT.sub("[^:]*", re.escape(template)).encode().replace(b"ends:[^:]*", b"ends:.*")
            + rb"\Z"
        )
        found[kind] = [key for key in keys if pattern.match(key)]
    return found


def damages_of(client: redis.Redis, kind: str, key: bytes) -> Iterator[Damage]:
    """Yield every damage to a key."""
    yield Damage(kind, key, None, "another type")
    stored = client.type(key)
    if stored == b"string":
        places: list[Any] = [None]
    else:
        yield Damage(kind, key, None, "missing")
        places = {
            b"hash": lambda: sorted(client.hkeys(key)),
            b"list": lambda: client.lrange(key, 0, 0),
            b"set": lambda: sorted(client.smembers(key))[:1],
            b"zset": lambda: client.zrange(key, 0, 0),
        }[stored]()
    for place in places:
        for value in VALUES:
            yield Damage(kind, key, place, value)
