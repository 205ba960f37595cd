"""Runs a server on a snapshot's file for as long as a command reads it; it writes nothing and listens on no port.

It ends with the command, however that ends: its socket has no password.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from relay.errors import Unavailable
from relay.store.health.readiness import Probe, probe
from relay.store.server.connection import client_of
from relay.up.child import end_with_this_process
from relay.up.embedded import ENVIRON, find_program

if TYPE_CHECKING:
    from collections.abc import Iterator

_POLL_S: Final = 0.05
_STOP_S: Final = 30.0
_TIMEOUT_S: Final = 120.0


@contextmanager
def loaded(file: Path, database: int) -> Iterator[Any]:
    """Load an RDB file; yield a client of a server that holds it.

    Raises:
        SettingsError: there is no server program on this machine.
        Unavailable: the program does not load the file; the message says what it wrote.
    """
    program = find_program()
    folder = Path(tempfile.mkdtemp(prefix="rly"))  # short: a socket's path has at most 107 bytes
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
    with _ending_by_signals(), (folder / "log").open("w+b") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command line, and no shell
            command,
            env=dict(ENVIRON),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=end_with_this_process(),  # noqa: PLW1509 - it takes no lock that a thread could have
        )
        try:
            url = f"unix://{socket}?db={database}"
            while probe(url) is not Probe.READY:
                if process.poll() is not None:
                    log.seek(0)
                    said = log.read().decode(errors="replace").strip().splitlines()[-3:]
                    raise Unavailable(f"{program} does not load {file.name}: {' '.join(said)}")
                time.sleep(_POLL_S)
            with client_of(url, socket_timeout=_TIMEOUT_S) as client:
                yield client
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            shutil.rmtree(folder, ignore_errors=True)


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
