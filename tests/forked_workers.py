"""Workers that are forked from a process that has imported what they run: each would spend more than a second on that.

From there on they do what ``celery -A workers.app worker`` does, in a process, a group and an environment of their own.
That a worker can import all of it by itself is seen where tests start a whole relay by its command.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.timing import START_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[1]


class ForkedWorker:
    """What `subprocess.Popen` is to its callers."""

    def __init__(self) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self.started, self.ended = threading.Event(), threading.Event()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        if not self.ended.wait(timeout):
            raise subprocess.TimeoutExpired("a forked worker", timeout or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)


class _Source:
    """The process that workers of this one are forked from."""

    def __init__(self) -> None:
        self._workers: dict[int, ForkedWorker] = {}
        self._asked: list[ForkedWorker] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.worker_source"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        threading.Thread(target=self._listen, daemon=True).start()
        atexit.register(self.close)

    def start(self, **asked: object) -> ForkedWorker:
        worker = ForkedWorker()
        self._asked.append(worker)
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        assert worker.started.wait(START_S), "no worker was forked in time"
        return worker

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(10)

    def _listen(self) -> None:
        for line in self._process.stdout:
            told = json.loads(line)
            if "started" in told:
                worker = self._asked.pop(0)
                worker.pid = told["started"]
                self._workers[worker.pid] = worker
                worker.started.set()
            else:
                worker = self._workers.pop(told["ended"])
                worker.returncode = os.waitstatus_to_exitcode(told["status"])
                worker.ended.set()


_source: list[_Source] = []


def start_worker(command: Sequence[str], environ: Mapping[str, str], log: Path, *, sabotage: str = "") -> ForkedWorker:
    """Starts ``celery`` with these arguments, in a group of its own; its output is added to ``log``.

    ``sabotage`` is Python that it runs first, its modules imported.
    """
    if not _source:
        _source.append(_Source())
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _source[0].start(command=list(command), environ=dict(environ), log=str(log), sabotage=sabotage, files=files)
