"""Sets aside one bucket's entries in the keys that a partition's plugins share, and puts them back elsewhere.

No worker acts on entries that are set aside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay.reference_id import BUCKET_DIGITS, bucket_of_plugin
from relay.store.bucket_keys import OF_IDS, OF_WEBHOOKS, bucket_of_member
from relay.store.key_names import PARTITIONED, key_in, partition_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.store.transitions import Ready

_PIECE: Final = 1_000
_LANE: Final = "{lane}"
_SETS: Final = frozenset({PARTITIONED["parked_webhooks"], PARTITIONED["revisits"]})
_OF_WEBHOOKS: Final = frozenset(PARTITIONED[kind] for kind in OF_WEBHOOKS)


class SetAside:
    """Moves a bucket's entries between the shared keys of a partition and the keys that hold what is set aside."""

    def __init__(self, server: Any, bucket: int, number: int) -> None:
        self._server = server
        self._bucket = bucket
        self._root = partition_root(number)

    def plugins(self) -> tuple[str, ...]:
        """Return the plugins of the bucket that this partition lists."""
        names = (name.decode() for name in self._server.smembers(self._shared("plugins")))
        return tuple(sorted(name for name in names if bucket_of_plugin(name) == self._bucket))

    def add_plugins(self, plugins: tuple[str, ...]) -> None:
        """Add these plugins to the partition's list."""
        if plugins:
            self._server.sadd(self._shared("plugins"), *plugins)

    def remove_plugins(self) -> None:
        """Remove the plugins of the bucket from the partition's list."""
        if plugins := self.plugins():
            self._server.srem(self._shared("plugins"), *plugins)

    def take(self) -> None:
        """Set the bucket's entries aside: first those that workers act on, then its sums, which no longer change."""
        plugins = self.plugins()
        for tail in self._tails():
            while self._take_some(tail, plugins):
                pass
        self._take_sums(plugins)

    def put_back(self) -> None:
        """Put everything that is set aside into the shared keys; an entry that is already there stays as it is."""
        for tail in self._tails():
            while self._put_some(tail):
                pass
        self._put_sums()

    def queued(self) -> Iterator[Ready]:
        """Yield the bucket's calls that wait here for a worker, with their lanes, a piece at a time."""
        before, after = PARTITIONED["due_queued"].split(_LANE)
        for tail in self._tails():
            if tail.startswith(before) and tail.endswith(after):
                lane, pattern = tail.removeprefix(before), f"*{self._bucket:0{BUCKET_DIGITS}x}"
                refs = [member.decode() for member, _ in self._members(self._root + tail, tail, pattern)]
                ours = [(ref, lane) for ref in sorted(set(refs)) if bucket_of_member(ref) == self._bucket]
                yield from (tuple(ours[start : start + _PIECE]) for start in range(0, len(ours), _PIECE))

    def _tails(self) -> Iterator[str]:
        """Yield the names of the shared keys, without the root."""
        for kind in (*OF_IDS, *OF_WEBHOOKS):
            template = PARTITIONED[kind]
            if _LANE not in template:
                yield template
                continue
            for key in self._server.scan_iter(match=self._root + template.replace(_LANE, "*"), count=_PIECE):
                yield key.decode()[len(self._root) :]
            for key in self._server.scan_iter(match=self._aside(template.replace(_LANE, "*")), count=_PIECE):
                yield key.decode()[len(self._aside("")) :]

    def _take_some(self, tail: str, plugins: tuple[str, ...]) -> bool:
        """Set some entries of a key aside; return whether there were any, so that there may be more."""
        found: dict[bytes, float] = {}
        by_id = [f"*{self._bucket:0{BUCKET_DIGITS}x}"]
        patterns = [f"{plugin}/*" for plugin in plugins] if tail in _OF_WEBHOOKS else by_id
        for pattern in patterns:
            for member, score in self._members(self._root + tail, tail, pattern):
                if bucket_of_member(member.decode()) == self._bucket:
                    found[member] = score
                if len(found) == _PIECE:
                    break
        if not found:
            return False
        self._change(self._aside(tail), self._root + tail, found, tail)
        return True

    def _put_some(self, tail: str) -> bool:
        found: dict[bytes, float] = {}
        for member, score in self._members(self._aside(tail), tail, "*"):
            found[member] = score
            if len(found) == _PIECE:
                break
        if not found:
            return False
        self._change(self._root + tail, self._aside(tail), found, tail)
        return True

    def _members(self, key: str, tail: str, pattern: str) -> Iterator[tuple[bytes, float]]:
        if tail in _SETS:
            return ((member, 0.0) for member in self._server.sscan_iter(key, match=pattern, count=_PIECE))
        return iter(self._server.zscan_iter(key, match=pattern, count=_PIECE))

    def _change(self, to: str, from_key: str, members: dict[bytes, float], tail: str) -> None:
        """Move members from one key to the other in one transaction."""
        pipeline = self._server.pipeline(transaction=True)
        if tail in _SETS:
            pipeline.sadd(to, *members)
            pipeline.srem(from_key, *members)
        else:
            pipeline.zadd(to, members, nx=True)
            pipeline.zrem(from_key, *members)
        pipeline.execute()

    def _take_sums(self, plugins: tuple[str, ...]) -> None:
        """Subtract what the plugins have pending from the partition's sum, once."""
        aside, count, size = self._aside("pending"), 0, 0
        for plugin in plugins:
            count += int(self._server.get(key_in(self._root, "plugin_pending", plugin=plugin)) or 0)
            kept = self._server.hget(key_in(self._root, "plugin_bytes", plugin=plugin), "pending")
            size += int(kept or 0)
        with self._server.pipeline() as pipeline:
            pipeline.watch(aside)
            if pipeline.exists(aside):
                return
            pipeline.multi()
            pipeline.hset(aside, mapping={"count": count, "bytes": size})
            self._add(pipeline, -count, -size)
            pipeline.execute()

    def _put_sums(self) -> None:
        """Add what was subtracted to the sum of this partition, once."""
        aside = self._aside("pending")
        with self._server.pipeline() as pipeline:
            pipeline.watch(aside)
            taken = pipeline.hgetall(aside)
            if not taken:
                return
            pipeline.multi()
            self._add(pipeline, int(taken[b"count"]), int(taken[b"bytes"]))
            pipeline.delete(aside)
            pipeline.execute()

    def _add(self, pipeline: Any, count: int, size: int) -> None:
        pipeline.hincrby(self._shared("pending"), "count", count)
        pipeline.hincrby(self._shared("pending"), "bytes", size)

    def _shared(self, kind: str) -> str:
        return key_in(self._root, kind)

    def _aside(self, what: str) -> str:
        return key_in(self._root, "moving", bucket=self._bucket, what=what)
