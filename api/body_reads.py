"""Tracks the bodies that are being read, each by its own thread, and tells which have taken too long.

Each piece of 64 KiB, or the shorter rest of a body, must arrive within ``timeout_s``, which is both a deadline and a
minimum rate. Slow bodies share a bounded number of threads, and one key gets no more than its share of those, so that
the callers of other keys find a thread.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from relay.errors import OverCapacity, RequestTimeout
from relay.shares import may_hold_more

if TYPE_CHECKING:
    from relay.errors import RelayError

#: A body is slow if its next piece has not arrived after this many seconds.
SLOW_S: Final = 1.0
#: How many threads may wait for slow bodies: fewer than are spare (`relay.up.processes.SPARE_THREADS`).
MAX_SLOW: Final = 32
#: How many times ``timeout_s`` a whole body may take; a chunked one arrives in one piece.
MAX_PIECES: Final = 12
MAX_PIECES_CHUNKED: Final = 3


@dataclass(slots=True, eq=False)
class BodyRead:
    """A body that is being read. ``refusal`` is set once it was given up; what the read returns is then not used."""

    key: str
    chunked: bool
    timeout_s: float
    thread: int = field(default_factory=threading.get_ident)
    started_s: float = field(default_factory=time.monotonic)
    piece_s: float = 0.0
    refusal: RelayError | None = None

    def __post_init__(self) -> None:
        self.piece_s = self.started_s

    def go_on(self) -> None:
        """Note that a piece has arrived."""
        self.piece_s = time.monotonic()

    def is_overdue(self, now_s: float) -> bool:
        """Return whether the read has taken longer than allowed, in whole or since its last piece."""
        pieces, most = (MAX_PIECES_CHUNKED, MAX_PIECES_CHUNKED) if self.chunked else (1, MAX_PIECES)
        return now_s - self.piece_s > pieces * self.timeout_s or now_s - self.started_s > most * self.timeout_s


class BodyReads:
    """The bodies that this process is reading now."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.lock = threading.Lock()  # held while reads are given up, so that none ends meanwhile
        self._reads: set[BodyRead] = set()
        self._crowded: frozenset[str] = frozenset()
        self.chunked_read_started = threading.Event()  # wakes the doorkeeper

    def begin(self, key: str, *, chunked: bool) -> BodyRead:
        """Register a read for the key with this id; the caller has to pass it to ``end``.

        Raises ``OverCapacity`` if slow bodies of the key hold its whole share of threads already.
        """
        if key in self._crowded:
            raise _crowded()
        read = BodyRead(key, chunked, self._timeout_s)
        self._reads.add(read)
        if chunked:
            self.chunked_read_started.set()
        return read

    def end(self, read: BodyRead) -> None:
        """Remove a read that has succeeded or failed; raise its refusal if it was given up."""
        with self.lock:
            self._reads.discard(read)
        if read.refusal is not None:
            raise read.refusal

    @property
    def chunked(self) -> int:
        """How many chunked bodies are being read."""
        return sum(read.chunked for read in tuple(self._reads))

    def give_up(self, now_s: float) -> list[BodyRead]:
        """Give up overdue reads, and slow ones beyond their key's share; return them. The caller holds the lock."""
        slow = [read for read in tuple(self._reads) if now_s - read.piece_s > SLOW_S or read.is_overdue(now_s)]
        held: Counter[str] = Counter()
        given_up, crowded = [], set()
        for read in sorted(slow, key=lambda read: read.started_s):
            if read.refusal is not None:
                continue
            if read.is_overdue(now_s):
                read.refusal = RequestTimeout()
            elif may_hold_more(held[read.key], MAX_SLOW - held.total()):
                held[read.key] += 1
                continue
            else:
                read.refusal = _crowded()
            given_up.append(read)
        for key, count in held.items():
            if not may_hold_more(count, MAX_SLOW - held.total()):
                crowded.add(key)
        self._crowded = frozenset(crowded)
        return given_up


def _crowded() -> OverCapacity:
    return OverCapacity("Too many bodies sent with this key are still arriving: send fewer at a time.")
