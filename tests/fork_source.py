"""The process from which tests fork workers and APIs (`tests/forked_processes.py`): all imported, nothing started.

For workers it imports `threading` after gevent has patched it, as a worker does.
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
    "granian": ("granian.cli", "granian.server", "granian.wsgi", "granian._loops", "api.app"),
}
#: The originals, kept before gevent replaces them: gevent's versions start a hub, which only forked processes may have.
_poll, _waitpid, _recv_fds, _close = select.poll, os.waitpid, socket.recv_fds, os.close


def _import_all(program: str) -> Callable[[], int]:
    """Import all that a program imports before it reads its settings; return the function that forks it."""
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
    """Fork a process for each message; return only in the forked process, with its message and its streams."""
    gc.collect()
    gc.freeze()  # a garbage collection in a child would touch, and so copy, all these pages
    children: dict[int, int] = {}  # pid by the pidfd that becomes readable at its end
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
    """Fork; return 0 in the child, and the pid in the parent once the child leads its own session and group."""
    read, write = os.pipe()
    pid = fork()
    if pid == 0:
        os.setsid()
    _close(write)
    if pid:
        os.read(read, 1)  # returns at end of file: the child has closed its end, too
    _close(read)
    return pid


def _tell(asking: _socket.socket, **told: int) -> None:
    asking.send(json.dumps(told).encode())


def _become(asked: dict[str, Any], streams: list[int]) -> None:
    """Take on the streams, limits, environment and arguments that the message asks for."""
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
