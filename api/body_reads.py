"""Bodies that are being read, each by a thread of its own, and which of them have taken too long.

A piece of 64 KiB, or what is left of a shorter body, has to arrive within ``timeout_s``: that is a deadline and a least
rate at once. And what arrives slowly shares a bounded number of threads, of which a key gets no more than its share,
so that the callers of other keys find a thread.
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

#: What has not arrived after so long is slow.
SLOW_S: Final = 1.0
#: So many threads may wait for slow bodies: fewer than are spare (`relay.up.processes.SPARE_THREADS`).
MAX_SLOW: Final = 32
#: The whole of a body may take so many times as long as a piece of it; a chunked one comes in one piece.
MAX_PIECES: Final = 12
MAX_PIECES_CHUNKED: Final = 3


@dataclass(slots=True, eq=False)
class BodyRead:
    """One body on its way. ``refusal`` is set when it has been given up; whatever the read brings is then no body."""

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
        """Note that a piece has come."""
        self.piece_s = time.monotonic()

    def is_overdue(self, now_s: float) -> bool:
        """Return whether reading this body has taken longer than it may, in whole or since its last piece."""
        pieces, most = (MAX_PIECES_CHUNKED, MAX_PIECES_CHUNKED) if self.chunked else (1, MAX_PIECES)
        return now_s - self.piece_s > pieces * self.timeout_s or now_s - self.started_s > most * self.timeout_s


class BodyReads:
    """Every body that this process reads now."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.lock = threading.Lock()  # held while reads are given up: none of them ends meanwhile
        self._reads: set[BodyRead] = set()
        self._crowded: frozenset[str] = frozenset()
        self.chunked_began = threading.Event()  # set for whoever looks at them

    def begin(self, key: str, *, chunked: bool) -> BodyRead:
        """Begin to read a body for the key of that id; it has to be ended.

        Raises ``OverCapacity`` when slow bodies of the key hold as many threads as they may already.
        """
        if key in self._crowded:
            raise _crowded()
        read = BodyRead(key, chunked, self._timeout_s)
        self._reads.add(read)
        if chunked:
            self.chunked_began.set()
        return read

    def end(self, read: BodyRead) -> None:
        """End it, however it went; raises the refusal if it was given up."""
        with self.lock:
            self._reads.discard(read)
        if read.refusal is not None:
            raise read.refusal

    @property
    def chunked(self) -> int:
        """How many chunked bodies are being read."""
        return sum(read.chunked for read in tuple(self._reads))

    def give_up(self, now_s: float) -> list[BodyRead]:
        """Return the reads to end now: those overdue, and those slow beyond their key's share. The lock is held."""
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
    return OverCapacity("Too many bodies of this key are slow to arrive: send fewer at a time.")
