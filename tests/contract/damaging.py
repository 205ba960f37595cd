"""Generates damages to a store: each field, or one member, of a key of each kind is missing, of another form, or another type."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay.store.keys.names import PARTITIONED, SHARED, TRAIL

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

#: What a value is replaced with; None: it is missing.
VALUES: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "text": b"pl\x1b[31mnted \xc2\x9b \xe2\x80\xae",  # with ESC, a C1 control, and one that turns the direction
    "negative": b"-7",
    "huge": b"9" * 400,
    "not finite": b"1e999",
    "binary": b"\xff\xfe\x00",
    "cut JSON": b'{"id": ',
    "other JSON": b"[null, {}]",
}
ANOTHER_TYPE = "another type"
_OPEN = re.compile(r"\\\{\w+\\\}")


@dataclass(frozen=True)
class Damage:
    """One change: of which kind of key, where in its value, and to what."""

    kind: str
    key: bytes
    place: bytes | None  # a field or member; None: the whole value
    value: str

    def __str__(self) -> str:
        place = "" if self.place is None else f" {self.place.decode('utf-8', 'replace')}"
        return f"{self.kind}{place}: {self.value}"

    def do(self, client: redis.Redis) -> None:
        new, stored = VALUES.get(self.value), client.type(self.key)
        if self.value == ANOTHER_TYPE:
            client.delete(self.key)
            client.execute_command(*(("RPUSH", self.key) if stored == b"hash" else ("HSET", self.key, "a")), "planted")
        elif self.place is None:
            client.delete(self.key) if new is None else client.set(self.key, new)
        elif stored == b"hash":
            client.hdel(self.key, self.place) if new is None else client.hset(self.key, self.place, new)
        else:
            _IN[stored](client, self, new or b"")


def _in_list(client: redis.Redis, damage: Damage, new: bytes) -> None:
    client.lset(damage.key, client.lrange(damage.key, 0, -1).index(damage.place), new)


def _in_set(client: redis.Redis, damage: Damage, new: bytes) -> None:
    client.srem(damage.key, damage.place)
    client.sadd(damage.key, new)


def _in_sorted_set(client: redis.Redis, damage: Damage, new: bytes) -> None:
    score = client.zscore(damage.key, damage.place)
    client.zrem(damage.key, damage.place)
    if damage.value in {"negative", "not finite"}:  # of a sorted set: the score
        client.zadd(damage.key, {damage.place: "-7" if damage.value == "negative" else "inf"})
    else:
        client.zadd(damage.key, {new: score})


_IN = {b"list": _in_list, b"set": _in_set, b"zset": _in_sorted_set}


def kinds_of(client: redis.Redis) -> dict[str, list[bytes]]:
    """Return the store's keys by kind."""
    keys = sorted(client.keys("relay:*"))
    found: dict[str, list[bytes]] = {}
    for kind, template in {**PARTITIONED, **SHARED, **TRAIL}.items():
        pattern = _OPEN.sub(".*" if kind == "ends" else "[^:]*", re.escape(template))
        whole = re.compile(rf"relay:\{{\w+\}}:{pattern}\Z".encode())
        found[kind] = [key for key in keys if whole.match(key)]
    return found


def damages_of(client: redis.Redis, kind: str, key: bytes) -> Iterator[Damage]:
    """Yield every damage to a key."""
    yield Damage(kind, key, None, ANOTHER_TYPE)
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
