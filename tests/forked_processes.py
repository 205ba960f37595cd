"""Forks workers and APIs from a process that has already imported what they run, which saves each a second or two.

From there on they do what ``celery -A workers.app worker`` and ``granian api.wsgi:app`` do, each in its own process
group and environment. Tests that start a whole relay by its command show that they can import everything themselves.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.timing import START_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[1]
FORKED = frozenset({"celery", "granian"})
_MESSAGE_BYTES = 1 << 16


class ForkedProcess:
    """A forked process, with the methods of `subprocess.Popen` that callers use."""

    def __init__(self) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self.started, self.ended = threading.Event(), threading.Event()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        if not self.ended.wait(timeout):
            raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it may have ended, and the message about that not have come yet
            if self.returncode is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Source:
    """The process from which all processes of one program are forked."""

    def __init__(self, program: str) -> None:
        self._processes: dict[int, ForkedProcess] = {}
        self._asked: list[ForkedProcess] = []
        self._asking = threading.Lock()
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.fork_source", program, str(theirs.fileno())]
            self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
        threading.Thread(target=self._listen, daemon=True).start()
        atexit.register(self.close)

    def start(self, streams: Sequence[int], **asked: object) -> ForkedProcess:
        process = ForkedProcess()
        with self._asking:
            self._asked.append(process)
            socket.send_fds(self._ours, [json.dumps(asked).encode()], streams)
        assert process.started.wait(START_S), "no process was forked in time"
        return process

    def close(self) -> None:
        self._ours.shutdown(socket.SHUT_WR)
        self._process.wait(10)

    def _listen(self) -> None:
        while message := self._ours.recv(_MESSAGE_BYTES):
            told = json.loads(message)
            if "started" in told:
                process = self._asked.pop(0)
                process.pid = told["started"]
                self._processes[process.pid] = process
                process.started.set()
            else:
                process = self._processes.pop(told["ended"])
                process.returncode = os.waitstatus_to_exitcode(told["status"])
                process.ended.set()


_sources: dict[str, _Source] = {}
_making = threading.Lock()


def start_forked(
    command: Sequence[str], environ: Mapping[str, str], streams: Sequence[int], *, sabotage: str = ""
) -> ForkedProcess:
    """Start one of the programs ``FORKED`` with its arguments, in its own process group.

    ``streams`` are the descriptors for its stdout and stderr; with only one, its stderr is closed.
    ``sabotage`` is Python code that it runs first, with its modules already imported.
    """
    with _making:
        if command[0] not in _sources:
            _sources[command[0]] = _Source(command[0])
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    asked = {"command": list(command), "environ": dict(environ), "sabotage": sabotage, "files": files}
    return _sources[command[0]].start(streams, **asked)
