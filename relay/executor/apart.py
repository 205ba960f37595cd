"""Does long work in a thread of its own, so that the calls of the other greenlets go on meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import gevent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

P = ParamSpec("P")
R = TypeVar("R")

#: Work on less is done within a few milliseconds, and quicker without a thread.
LARGE_BYTES: Final = 64 * 1024
#: To evaluate expressions takes so many times as long as to read what they look through.
EVALUATING: Final = 32
#: To make a mask takes so many times as long as to read the texts that it hides.
_MAKING: Final = 1_000


def apart(size_bytes: int, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do ``work`` on so many bytes. It must be pure: no I/O, and nothing that a greenlet waits on."""
    if size_bytes < LARGE_BYTES:
        return work(*args, **kwargs)
    result: R = gevent.get_hub().threadpool.apply(work, args, kwargs)
    return result


def making_bytes(texts: Iterable[str]) -> int:
    """Return how many bytes can be worked on in the time that it takes to make a mask of these texts."""
    return _MAKING * sum(map(len, texts))
