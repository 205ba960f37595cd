"""The bytes of bodies that are being read, parsed and kept at one time: a bounded good.

A body costs some times its size while it is parsed, checked and sealed. So what is in hand at a time is bounded, and
large bodies are parsed one after the other: each holds the interpreter for some milliseconds at a stretch, which those
who wait for it should have to bear but once.
"""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from relay.errors import Unavailable

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

#: Smaller bodies are not counted: as many as there are threads are few bytes.
SMALL_BYTES: Final = 64 * 1024
_RETRY_AFTER_S: Final = 1
_NO_LOCK: Final = nullcontext()


class ParsingBudget:
    """At most ``max_bytes`` of bodies in hand; a single larger one is taken when there is no other."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self._lock = threading.Lock()
        self._parsing = threading.Lock()

    def take(self, size_bytes: int) -> int:
        """Take a body of that size in hand: what is to be given back. Raises ``Unavailable`` if that is too much."""
        if size_bytes <= SMALL_BYTES:
            return 0
        with self._lock:
            if self._used_bytes and self._used_bytes + size_bytes > self._max_bytes:
                raise Unavailable(
                    "Too many large bodies are being read: send this one again.", retry_after_s=_RETRY_AFTER_S
                )
            self._used_bytes += size_bytes
        return size_bytes

    def give_back(self, taken_bytes: int) -> None:
        """Have a body in hand no longer."""
        if taken_bytes:
            with self._lock:
                self._used_bytes -= taken_bytes

    def parsing(self, size_bytes: int) -> AbstractContextManager[object]:
        """Return a context for parsing a body of that size: large ones one at a time."""
        return _NO_LOCK if size_bytes <= SMALL_BYTES else self._parsing
