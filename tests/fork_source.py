"""The process that those of tests are forked from (`tests/forked_processes.py`): all imported, nothing begun.

That of workers imports `threading` when gevent has taken its place, as a worker does.
"""

from __future__ import annotations

import _socket
import gc
import json
import os
import resource
import select
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_MESSAGE_BYTES = 1 << 20
_MOST_STREAMS = 2  # output and errors
_NAMES = "import sys, gevent, relay.executor.settling, relay.upkeep.sweeper, workers.heartbeat"
_IMPORTED = {
    "celery": (
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
    ),
    "granian": ("granian.cli", "granian.server", "granian.wsgi", "granian._loops", "api.app", "api.doorkeeper"),
}
#: As they are before gevent has its own, which begin a hub: it belongs to those who are forked.
_poll, _waitpid, _recv_fds, _close = select.poll, os.waitpid, socket.recv_fds, os.close


def _import_all(program: str) -> Callable[[], int]:
    """All that a program imports before it has read a setting; how it is forked."""
    if program == "celery":
        sys.argv = ["celery", "worker", "-P", "gevent"]
        from celery import maybe_patch_concurrency

        maybe_patch_concurrency()
    for name in _IMPORTED[program]:
        __import__(name)
    if program == "celery":
        from gevent.os import fork_gevent

        return fork_gevent
    return os.fork


def _serve(asking: _socket.socket, fork: Callable[[], int]) -> tuple[dict[str, Any], list[int]]:
    """Forks a process for each message; returns in that process, with what it is to be and its streams."""
    gc.collect()
    gc.freeze()  # a child that searched what it never drops would copy all of it
    children: dict[int, int] = {}  # by what tells of their end
    looks = _poll()
    looks.register(asking.fileno(), select.POLLIN)
    while True:
        for ready, _ in looks.poll():
            if ready in children:
                looks.unregister(ready)
                _close(ready)
                pid, status = _waitpid(children.pop(ready), 0)
                _tell(asking, ended=pid, status=status)
                continue
            message, streams, _, _ = _recv_fds(asking, _MESSAGE_BYTES, _MOST_STREAMS)
            if not message:
                os._exit(0)
            pid = _fork_leader(fork)
            if pid == 0:
                for each in (asking.detach(), *children):
                    _close(each)
                return json.loads(message), streams
            for each in streams:
                _close(each)
            watched = os.pidfd_open(pid)
            children[watched] = pid
            looks.register(watched, select.POLLIN)
            _tell(asking, started=pid)


def _fork_leader(fork: Callable[[], int]) -> int:
    """Returns in the child, and in the parent once the child has a group of its own."""
    read, write = os.pipe()
    pid = fork()
    if pid == 0:
        os.setsid()
    _close(write)
    if pid:
        os.read(read, 1)  # its end: the child has closed it, too
    _close(read)
    return pid


def _tell(asking: _socket.socket, **told: int) -> None:
    asking.send(json.dumps(told).encode())


def _become(asked: dict[str, Any], streams: list[int]) -> None:
    """Takes the streams, the limits, the environment and the arguments of the one that it is to be."""
    resource.setrlimit(resource.RLIMIT_NOFILE, asked["files"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, stream in enumerate((nothing, *streams)):
        os.dup2(stream, number)
    if len(streams) < _MOST_STREAMS:
        _close(2)
    for each in (nothing, *streams):
        _close(each)
    os.environ.clear()
    os.environ.update(asked["environ"])
    sys.argv = asked["command"]


def _run(program: str, descriptor: int) -> None:
    fork = _import_all(program)
    asked, streams = _serve(_socket.socket(fileno=descriptor), fork)
    _become(asked, streams)
    if asked["sabotage"]:
        names: dict[str, Any] = {}
        exec(_NAMES, names)
        exec(asked["sabotage"], names)
    if program == "celery":
        from celery.__main__ import main
    else:
        from granian.cli import entrypoint as main
    main()


if __name__ == "__main__":
    _run(sys.argv[1], int(sys.argv[2]))
