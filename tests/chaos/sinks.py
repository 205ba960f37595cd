"""Sinks for a process's log that cannot be written to, one for each way of failing."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SINKS = ("full disk", "reader gone", "reader stuck", "closed")


class Sink:
    """A failing sink; ``open()`` provides a descriptor for a child, and keeps open what it needs."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._kept: list[int] = []

    @contextmanager
    def open(self) -> Iterator[int | None]:
        """Provide the descriptor for the child to write to; None: the child gets none."""
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
