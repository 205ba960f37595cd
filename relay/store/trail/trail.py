"""Reads an audit trail in the store, and writes its signatures; `relay.audit` defines the entries."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis.exceptions import ResponseError

from relay.audit.checkpoint import Signed
from relay.audit.verifying import Block
from relay.store.keys import keyspace
from relay.store.keys.names import ROOT, root_name
from relay.store.partitions.reachable import Answers, ask_roots, roots_of
from relay.store.scripting.scripts import Scripts
from relay.store.server.clock import time_ms_from
from relay.store.server.errors import store_errors
from relay.store.server.locks import hold_lock
from relay.store.server.replicas import on_primary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import redis

T = TypeVar("T")

#: How many segments are read at once, each of about 16 KiB.
_PAGE: Final = 32
#: How long a worker that died while holding the lock keeps others from signing, in milliseconds.
_LOCK_MS: Final = 5_000
_EVERYTHING: Final = -1
#: The largest segment that is decompressed, so that a segment that no relay wrote cannot fill the memory.
_MAX_SEGMENT_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TrailEnd:
    """The newest part of the trail, read at one moment: the entries in no segment, and the checkpoint over them."""

    segments: int
    last_segment: bytes
    head: bytes  # the signed checkpoint over the first of the entries; empty if there is none
    beginning: bytes  # the signed beginning; empty if the trail begins with its first entry
    entries: list[bytes]
    more: bool  # there are more entries than were read
    now_ms: int


class Trail:
    """The trail of one root. Every method raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis, root: str = ROOT) -> None:
        self._client: Any = client
        self._root = root
        self.name = root_name(root)
        self._scripts = Scripts(client)

    def end(self, most: int = 0) -> TrailEnd:
        """Read the newest part, with at most ``most`` of its entries (0: all)."""

        def read(server: Any) -> Any:
            pipeline = server.pipeline(transaction=True)
            pipeline.llen(keyspace.audit("segments", self._root))
            pipeline.lindex(keyspace.audit("segments", self._root), -1)
            pipeline.get(keyspace.audit("head", self._root))
            pipeline.get(keyspace.audit("beginning", self._root))
            pipeline.lrange(keyspace.audit("entries", self._root), 0, most or _EVERYTHING)
            pipeline.execute_command("TIME")  # has no key: a cluster's client would not allow it in a transaction
            return pipeline.execute()

        with store_errors():
            segments, last, head, beginning, entries, time = on_primary(self._client, self._root, read)
        more = bool(most) and len(entries) > most
        return TrailEnd(
            segments, last or b"", head or b"", beginning or b"", entries[: most or None], more, time_ms_from(time)
        )

    def confirmed_end(self, most: int) -> TrailEnd:
        """Read the newest part for a worker that is going to sign it, once the required replicas have all of it.

        So nothing is signed that a failover may lose. Entries that are too long to be read again are replaced first.
        """
        reply = self._scripts.run("audit_end", [most + 1], self._root)
        segments, last, head, beginning, entries, now = reply
        return TrailEnd(segments, last, head, beginning, entries[:most], len(entries) > most, int(now))

    def server(self) -> str:
        """Return the id of the server's run, which changes when another one takes over; empty if it does not tell."""
        with store_errors():
            try:
                about = on_primary(self._client, self._root, lambda server: server.info("server"))
            except ResponseError:  # not allowed, or not known
                return ""
        return str(about.get("run_id", ""))

    def beginning(self) -> Signed | None:
        """Read where the trail begins; None if at its first entry. An unreadable value counts as unsigned."""
        with store_errors():
            found = self._client.get(keyspace.audit("beginning", self._root))
        return None if found is None else Signed.from_bytes(found)

    def blocks(self) -> Iterator[Block]:
        """Yield all segments, then the entries that are in no segment by then."""
        at = 0
        while len(page := self.segments(at, _PAGE)) == _PAGE:
            yield from map(block_from, page)
            at += _PAGE
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.lrange(keyspace.audit("segments", self._root), at, _EVERYTHING)
            pipeline.get(keyspace.audit("head", self._root))
            pipeline.lrange(keyspace.audit("entries", self._root), 0, _EVERYTHING)
            page, head, entries = pipeline.execute()
        yield from map(block_from, page)
        if entries or head:
            yield Block(entries, Signed.from_bytes(head) if head else None, is_open=True)

    def last_number(self) -> int:
        """Return the number of the newest entry; 0 if there has been none."""
        end = self.end()
        return _archived(end) + len(end.entries)

    def newest_first(self) -> Iterator[tuple[int, bytes]]:
        """Yield every entry with its number, newest first; leave out segments that cannot be read."""
        end = self.end()
        before = _archived(end) + 1  # the number of the last entry that was yielded
        yield from reversed(list(enumerate(end.entries, before)))
        for first in range((end.segments - 1) // _PAGE * _PAGE, -1, -_PAGE):
            for segment in reversed(self.segments(first, min(_PAGE, end.segments - first))):
                point = checkpoint_in(segment).checkpoint()
                entries = () if point is None else block_from(segment).entries
                for number, entry in reversed(list(enumerate(entries, 0 if point is None else point.first))):
                    if number < before:  # otherwise older segments have been deleted, and the others have moved up
                        before = number
                        yield number, entry

    def after(self, seq: int) -> list[tuple[int, bytes]]:
        """Read some of the entries after number ``seq``, in order, with their numbers; none if there are no more."""
        end = self.end()
        archived = _archived(end)
        if seq >= archived:
            return list(enumerate(end.entries[seq - archived :], seq + 1))
        return self._in_segment(seq, end.segments)

    def _in_segment(self, seq: int, count: int) -> list[tuple[int, bytes]]:
        """Read the entries after number ``seq`` in the first segment that has any; segments are in order."""
        found: list[tuple[int, bytes]] = []
        low, high = 0, count - 1
        while low <= high:
            middle = (low + high) // 2
            segment = next(iter(self.segments(middle, 1)), b"")
            point = checkpoint_in(segment).checkpoint()
            if point is None or point.last <= seq:
                low = middle + 1
                continue
            every = enumerate(block_from(segment).entries, point.first)
            found = [(number, entry) for number, entry in every if number > seq]
            high = middle - 1
        return found

    def archived(self, first: int, last: int) -> list[tuple[int, bytes]]:
        """Read the entries from number ``first`` to ``last`` that are in segments, with their numbers."""
        with store_errors():
            segments = int(self._client.llen(keyspace.audit("segments", self._root)))
        found: list[tuple[int, bytes]] = []
        seq = first - 1
        while seq < last and (more := self._in_segment(seq, segments)):
            found += more
            seq = more[-1][0]
        return found

    def every_segment(self) -> Iterator[bytes]:
        """Yield the segments as they are stored, a page at a time."""
        at = 0
        while page := self.segments(at, _PAGE):
            yield from page
            at += len(page)

    def segments(self, first: int, count: int) -> list[bytes]:
        """Read ``count`` segments from index ``first`` on, as they are stored."""
        with store_errors():
            found: list[bytes] = self._client.lrange(keyspace.audit("segments", self._root), first, first + count - 1)
        return found

    def take_lock(self, process: str) -> bool:
        """Take the lock for signing, or extend it; return whether this process holds it now."""
        key = keyspace.audit("lock", self._root)
        with store_errors():
            return hold_lock(self._client, key, process, _LOCK_MS)

    def sign(self, end: TrailEnd, checkpoint: Signed) -> bool:
        """Write a checkpoint over the entries of an end; return False if they have been signed or are gone."""
        args = [end.segments, end.head, checkpoint.to_bytes(), 0, "", *_last_of(end.entries)]
        return bool(self._scripts.run("audit_sign", args, self._root))

    def archive(self, end: TrailEnd, checkpoint: Signed, entries: Sequence[bytes]) -> bool:
        """Move an end's first entries into a segment, with their checkpoint; return the same as `sign`."""
        args = [end.segments, end.head, "", len(entries), segment_of(checkpoint, entries), *_last_of(entries)]
        return bool(self._scripts.run("audit_sign", args, self._root))

    def trim(self, oldest: bytes, count: int) -> bool:
        """Delete the oldest entries of an unsigned trail; return False if ``oldest`` is no longer the first."""
        return bool(self._scripts.run("audit_trim", [oldest, count], self._root))

    def prune(self, beginning: bytes, begins: Signed, segments: int) -> bool:
        """Delete the oldest segments; return False if another worker has done so since ``beginning`` was read."""
        return bool(self._scripts.run("audit_prune", [beginning, begins.to_bytes(), segments], self._root))


def _last_of(entries: Sequence[bytes]) -> tuple[int, bytes]:
    """Return the number of entries and the last of them, as ``lua/trail/audit_sign.lua`` compares them."""
    return len(entries), entries[-1] if entries else b""


def _archived(end: TrailEnd) -> int:
    """Return the number of the last entry that was ever put into a segment, according to an unverified checkpoint."""
    if end.last_segment:
        point = checkpoint_in(end.last_segment).checkpoint()
        return 0 if point is None else point.last
    beginning = Signed.from_bytes(end.beginning).beginning()
    return 0 if beginning is None else beginning[0] - 1


def trails(client: redis.Redis, keys: keyspace.Keyspace = keyspace.SINGLE) -> list[Trail]:
    """Return the trails of all roots: one for each partition, and the shared one."""
    return [Trail(client, root) for root in roots_of(keys)]


def every_trail(client: redis.Redis, keys: keyspace.Keyspace, act: Callable[[Trail], T]) -> Answers[str, T]:
    """Do something with each trail; return the results, and the trails that do not answer, by their names."""
    answers = ask_roots(client, keys, lambda root: act(Trail(client, root)))
    found = {root_name(root): each for root, each in answers.found.items()}
    return Answers(found, {root_name(root): each for root, each in answers.silent.items()})


def segment_of(checkpoint: Signed, entries: Sequence[bytes]) -> bytes:
    """Return a segment in its stored form: the checkpoint, and its entries compressed."""
    texts = json.dumps([entry.decode("latin-1") for entry in entries], separators=(",", ":"))
    return checkpoint.to_bytes() + b"\n" + zlib.compress(texts.encode())


def block_from(segment: bytes) -> Block:
    """Parse a segment; an unreadable one counts as unsigned."""
    *_, packed = segment.split(b"\n", 2)
    try:
        unpacking = zlib.decompressobj()
        texts = json.loads(unpacking.decompress(packed, _MAX_SEGMENT_BYTES))
        entries = [text.encode("latin-1") for text in texts]
    except (zlib.error, ValueError, AttributeError, TypeError, RecursionError):
        return Block((), Signed({}, b""))
    return Block(entries, checkpoint_in(segment))


def checkpoint_in(segment: bytes) -> Signed:
    """Read the checkpoint of a segment, without its entries; an unreadable one counts as unsigned."""
    return Signed.from_bytes(b"\n".join(segment.split(b"\n", 2)[:2]))
