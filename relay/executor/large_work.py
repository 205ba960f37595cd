"""Runs long computations in a thread, and many short ones with pauses, so that other greenlets' calls keep moving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import gevent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

P = ParamSpec("P")
R = TypeVar("R")

#: Work on fewer bytes takes a few milliseconds at most, and is faster without a thread.
LARGE_BYTES: Final = 24 * 1024  # fewer than hold the values from which on JSON is read by Python's slow parser
#: Evaluating expressions takes about this many times as long as reading the data that they search.
EVALUATING: Final = 32
#: Making a mask takes about this many times as long as reading the texts that it hides.
_MAKING: Final = 1_000


class _Done:
    """How many bytes have been worked on since this thread last paused."""

    size_bytes = 0


def run_in_thread_if_large(size_bytes: int, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run ``work``; in a thread if it is on `LARGE_BYTES` or more. It must be pure: no I/O, no use of greenlets.

    Before smaller work that adds up to as much, such as reading a chain's thousand results, this lets others run.
    """
    if size_bytes < LARGE_BYTES:
        _Done.size_bytes += size_bytes
        if _Done.size_bytes >= LARGE_BYTES:
            let_others_run()
        return work(*args, **kwargs)
    result: R = gevent.get_hub().threadpool.apply(work, args, kwargs)
    return result


def let_others_run() -> None:
    """Return after everything ready has had its turn, including the sockets, which `gevent.sleep(0)` may leave out."""
    _Done.size_bytes = 0
    hub = gevent.get_hub()
    hub.wait(hub.loop.timer(0))


def making_bytes(texts: Iterable[str]) -> int:
    """Return the size of work, in bytes, that takes as long as making a mask of these texts."""
    return _MAKING * sum(map(len, texts))
