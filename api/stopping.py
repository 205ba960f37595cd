"""Lets an API process stop without waiting for the callers that wait in it.

Granian ends only when its running requests have ended, and a caller may wait for a minute. So waiting callers are
answered (202, with the reference id) as soon as the process is asked to stop.
"""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT})
_LOOK_S: Final = 0.25  # how soon an end of the process without a signal is noticed
_LONGEST_S: Final = 5.0  # for which the acts may delay the end: the store may be silent


def on_stop(*acts: Callable[[], None]) -> None:
    """Call ``acts`` one after another, in a separate thread, when the process is asked to stop.

    The process ends only after the last act, or 5 s after the first has begun.

    The server installs its signal handlers after it has loaded the application, and would replace any set here. The
    interpreter's wake-up descriptor, to which every signal is written, stays. Only the main thread may set it: in
    other threads this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    reading, writing = socket.socketpair()
    writing.setblocking(False)  # noqa: FBT003 - it takes no name
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    # Python waits at its end for threads that are not daemons.
    threading.Thread(target=_watch, args=(reading, writing, acts), name="stop", daemon=False).start()


def _watch(reading: socket.socket, _writing: socket.socket, acts: Sequence[Callable[[], None]]) -> None:
    # The writing end is kept here because it must not be closed while the interpreter writes to it.
    reading.settimeout(_LOOK_S)
    while threading.main_thread().is_alive():
        with suppress(TimeoutError):
            if _SIGNALS.intersection(reading.recv(64)):
                break
    acting = threading.Thread(target=_run, args=(acts,), name="stop acts", daemon=True)
    acting.start()
    acting.join(_LONGEST_S)


def _run(acts: Sequence[Callable[[], None]]) -> None:
    for act in acts:
        act()
