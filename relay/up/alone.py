"""Runs a server by itself, for a command that needs it while no `relay up` runs."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from relay.errors import Unavailable
from relay.settings import child_environ
from relay.store.health.readiness import Probe, probe
from relay.store.server.connection import client_of
from relay.up.access import ADMINISTRATOR
from relay.up.child import MARK, Child, end_leftovers
from relay.up.datadir import DataDir
from relay.up.embedded import FSYNC, EmbeddedServer, find_program, server_environ
from relay.up.log_file import last_lines
from relay.up.processes import SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterator

_POLL_S: Final = 0.05
_STOP_S: Final = 60.0
_TIMEOUT_S: Final = 120.0


@contextmanager
def server_alone(data_dir: Path) -> Iterator[str]:
    """Run the embedded server of a data directory, and stop it at the end; yield its address for the administrator.

    Raises:
        SettingsError: a `relay up` runs on the directory.
        Unavailable: the server does not start.
    """
    directory = DataDir.make(data_dir)
    with directory.lock():
        end_leftovers(directory.path)
        server = EmbeddedServer.prepare(directory, FSYNC[0])
        environ = child_environ({**server_environ(), MARK: str(directory.path)}, SECRETS)
        log = directory.log(server.name)
        child = Child(server.name, server.command, environ=environ, directory=directory.path, log=log)
        child.start()
        try:
            server.wait(child.is_running)
            yield server.url(ADMINISTRATOR)
        finally:
            child.stop(_STOP_S)


@contextmanager
def loaded(file: Path, database: int) -> Iterator[Any]:
    """Load an RDB file into a server that writes nothing and listens on no port; yield a client of it.

    It ends with the command, however that ends: its socket has no password.

    Raises:
        SettingsError: there is no server program on this machine.
        Unavailable: the program does not load the file; the message says what it wrote.
    """
    program = find_program()
    # A short name: a socket's path has at most 107 bytes.
    with _ending_by_signals(), TemporaryDirectory(prefix="rly", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        socket = folder / "s"
        options = {
            "port": "0",
            "unixsocket": str(socket),
            "unixsocketperm": "600",
            "dir": str(file.parent.resolve()),
            "dbfilename": file.name,
            "save": "",
            "appendonly": "no",
            "databases": str(max(16, database + 1)),
        }
        command = [program, *(part for name, value in options.items() for part in (f"--{name}", value))]
        server = Child("loaded", command, environ=server_environ(), directory=folder, log=folder / "log")
        server.start()
        try:
            url = f"unix://{socket}?db={database}"
            while probe(url) is not Probe.READY:
                if not server.is_running():
                    said = " ".join(last_lines(server.log, 3))
                    raise Unavailable(f"{program} does not load {file.name}: {said}")
                time.sleep(_POLL_S)
            with client_of(url, socket_timeout=_TIMEOUT_S) as client:
                yield client
        finally:
            server.stop(_STOP_S)


@contextmanager
def _ending_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP, unless they are ignored, end this process as an exception does."""
    numbers = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
