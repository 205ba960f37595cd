"""Bounds the bytes of request bodies that are in memory at one time.

A body takes several times its size while it is parsed, checked and sealed, so the total is bounded. Large bodies are
parsed one after the other: each holds the interpreter for some milliseconds, and other threads should not have to wait
for more than one.
"""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from relay.errors import Unavailable

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

#: Smaller bodies are not counted: even one in every thread adds up to few bytes.
SMALL_BYTES: Final = 64 * 1024
_RETRY_AFTER_S: Final = 1
_NO_LOCK: Final = nullcontext()


class ParsingBudget:
    """Allows bodies of ``max_bytes`` in all; a larger one is allowed while there is no other."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self._lock = threading.Lock()
        self._parsing = threading.Lock()

    def take(self, size_bytes: int) -> int:
        """Reserve the bytes of a body; return what to pass to ``give_back``, or raise ``Unavailable``."""
        if size_bytes <= SMALL_BYTES:
            return 0
        with self._lock:
            if self._used_bytes and self._used_bytes + size_bytes > self._max_bytes:
                raise Unavailable(
                    "Too many large bodies are being read: send this one again later.", retry_after_s=_RETRY_AFTER_S
                )
            self._used_bytes += size_bytes
        return size_bytes

    def give_back(self, taken_bytes: int) -> None:
        """Release the bytes that ``take`` reserved."""
        if taken_bytes:
            with self._lock:
                self._used_bytes -= taken_bytes

    def parsing(self, size_bytes: int) -> AbstractContextManager[object]:
        """Return the context in which to parse a body of this size; large bodies enter it one at a time."""
        return _NO_LOCK if size_bytes <= SMALL_BYTES else self._parsing
