"""Runs a server on a snapshot's file for as long as a command reads it; it writes nothing and listens on no port."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from relay.errors import Unavailable
from relay.store.health.readiness import Probe, probe
from relay.store.server.connection import client_of
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
    with (folder / "log").open("w+b") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command line, and no shell
            command, env=dict(ENVIRON), stdin=subprocess.DEVNULL, stdout=log, stderr=log
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
