"""Where a process's log goes that cannot be written to: each way in which a sink fails."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SINKS = ("full disk", "reader gone", "reader stuck", "closed")


class Sink:
    """One failing sink; ``open()`` gives a descriptor for a child, and keeps what has to stay open."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._kept: list[int] = []

    @contextmanager
    def open(self) -> Iterator[int | None]:
        """A descriptor for the child to write to; None: it has none."""
        if self.kind == "closed":
            yield None
            return
        descriptor = os.open("/dev/full", os.O_WRONLY) if self.kind == "full disk" else self._pipe()
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def close(self) -> None:
        for descriptor in self._kept:
            os.close(descriptor)
        self._kept.clear()

    def _pipe(self) -> int:
        read, write = os.pipe()
        if self.kind == "reader gone":
            os.close(read)
            return write
        self._kept.append(read)
        os.set_blocking(write, False)
        try:
            while True:
                os.write(write, b"x" * 4096)
        except BlockingIOError:
            pass
        os.set_blocking(write, True)
        return write
