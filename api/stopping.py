"""A stop that does not wait for waiting callers.

Granian ends when its running requests have; a caller may wait for a minute. So whoever waits is answered (202, with
the reference id) as soon as the process is asked to stop.
"""

from __future__ import annotations

import signal
import socket
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT})


def on_stop(*acts: Callable[[], None]) -> None:
    """Call each of ``acts``, in a thread of its own, when the process is asked to stop.

    The server installs its handlers only after it has loaded the application, so that none of ours would last; the
    interpreter's wake-up file, which is told of every signal, does. Only the main thread may set it: elsewhere this
    does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    told, tells = socket.socketpair()
    tells.setblocking(False)  # noqa: FBT003 - it takes no name
    signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(told, tells, acts), name="stop", daemon=True).start()


def _watch(told: socket.socket, _tells: socket.socket, acts: Sequence[Callable[[], None]]) -> None:
    # The other end is held here, for it must not be closed while the interpreter writes to it.
    while True:
        if _SIGNALS.intersection(told.recv(64)):
            for act in acts:
                act()
            return
