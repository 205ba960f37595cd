"""Runs the embedded server of a data directory by itself, for a command that needs it while no `relay up` runs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from relay.settings import child_environ
from relay.up.access import ADMINISTRATOR
from relay.up.child import MARK, Child, end_leftovers
from relay.up.datadir import DataDir
from relay.up.embedded import ENVIRON, FSYNC, EmbeddedServer
from relay.up.processes import SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STOP_S: Final = 60.0


@contextmanager
def server_alone(data_dir: Path) -> Iterator[str]:
    """Run the server, and stop it at the end; yield its address for the administrator.

    Raises:
        SettingsError: a `relay up` runs on the directory.
        Unavailable: the server does not start.
    """
    directory = DataDir.make(data_dir)
    with directory.lock():
        end_leftovers(directory.path)
        server = EmbeddedServer.prepare(directory, FSYNC[0])
        environ = child_environ({**ENVIRON, MARK: str(directory.path)}, SECRETS)
        log = directory.log(server.name)
        child = Child(server.name, server.command, environ=environ, directory=directory.path, log=log)
        child.start()
        try:
            server.wait(child.is_running)
            yield server.url(ADMINISTRATOR)
        finally:
            child.stop(_STOP_S)
