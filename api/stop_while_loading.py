"""Lets SIGTERM end a process that is still loading the API, when imported.

Granian forks the process that serves, which has the handlers of its parent until it has loaded the application. They
note a signal for the parent only: the process would go on loading, and serve, while the parent waits for its end.
"""

from __future__ import annotations

import signal
import threading

if threading.current_thread() is threading.main_thread():  # no other may set a handler
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
