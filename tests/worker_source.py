"""The process that workers of tests are forked from (`tests/forked_workers.py`): all imported, nothing begun.

It imports `threading` when gevent has taken its place, as a worker does.
"""

from __future__ import annotations

import json
import os
import resource
import select
import sys
from typing import Any

_LOOK_S = 0.05  # how soon an end is noticed
_NAMES = "import sys, gevent, relay.executor.settling, relay.upkeep.sweeper, workers.heartbeat"
_IMPORTED = [
    "relay.executor.settling",
    "relay.upkeep.sweeper",
    "workers.bootsteps",
    "workers.heartbeat",
    "workers.tasks",
    "celery.bin.celery",
    "celery.apps.worker",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.strategy",
    "celery.app.control",
    "celery.app.events",
    "celery.loaders.app",
    "celery.fixups.django",
]
#: As they are before gevent has its own: its hub belongs to those who are forked.
_select, _waitpid = select.select, os.waitpid


def _serve() -> dict[str, Any]:
    """Forks a worker for each line; returns in that worker, with what it is to be."""
    from gevent.os import fork_gevent

    line, children = b"", set()
    while True:
        ready, _, _ = _select([0], [], [], _LOOK_S if children else None)
        if ready:
            piece = os.read(0, 65_536)
            if not piece:
                os._exit(0)
            line += piece
        for pid in list(children):
            ended, status = _waitpid(pid, os.WNOHANG)
            if ended:
                children.remove(pid)
                _tell(ended=pid, status=status)
        while b"\n" in line:
            asked, _, line = line.partition(b"\n")
            told, tell = os.pipe()
            pid = fork_gevent()
            if pid == 0:
                os.close(told)
                return _become(json.loads(asked), tell)
            os.close(tell)
            os.read(told, 1)  # it has its group
            os.close(told)
            children.add(pid)
            _tell(started=pid)


def _tell(**told: int) -> None:
    os.write(1, json.dumps(told).encode() + b"\n")


def _become(asked: dict[str, Any], tell: int) -> dict[str, Any]:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_NOFILE, asked["files"])
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, asked["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT),
    ):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(1, 2)
    os.environ.clear()
    os.environ.update(asked["environ"])
    sys.argv = asked["command"]
    os.write(tell, b"1")
    os.close(tell)
    return asked


def _run() -> None:
    """What a worker imports, then workers."""
    sys.argv = ["celery", "worker", "-P", "gevent"]
    from celery import maybe_patch_concurrency

    maybe_patch_concurrency()
    for name in _IMPORTED:
        __import__(name)
    asked = _serve()
    if asked["sabotage"]:
        names: dict[str, Any] = {}
        exec(_NAMES, names)
        exec(asked["sabotage"], names)
    from celery.__main__ import main

    main()


if __name__ == "__main__":
    _run()
