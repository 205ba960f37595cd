"""Runs long computations in a thread, so that the calls of other greenlets go on meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import gevent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

P = ParamSpec("P")
R = TypeVar("R")

#: Work on fewer bytes takes a few milliseconds at most, and ends sooner without a thread.
LARGE_BYTES: Final = 64 * 1024
#: Evaluating expressions takes about this many times as long as reading the data that they search.
EVALUATING: Final = 32
#: Making a mask takes about this many times as long as reading the texts that it hides.
_MAKING: Final = 1_000


def run_in_thread_if_large(size_bytes: int, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run ``work``; in a thread if it is on `LARGE_BYTES` or more. It must be pure: no I/O, no use of greenlets."""
    if size_bytes < LARGE_BYTES:
        return work(*args, **kwargs)
    result: R = gevent.get_hub().threadpool.apply(work, args, kwargs)
    return result


def making_bytes(texts: Iterable[str]) -> int:
    """Return the size of work, in bytes, that takes as long as making a mask of these texts."""
    return _MAKING * sum(map(len, texts))
