"""The data directory of ``relay up``: files that the next start needs, readable by their owner only."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from relay.errors import Conflict, SettingsError
from relay.settings import ENV_FILE
from relay.settings.names import AUDIT_KEY, DATA_KEYS, FLOWER_AUTH, TARGET_KEYS
from relay.settings.private_file import read_private_file, write_private_file
from relay.up.ports import FreePorts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.errors import RelayError

#: The files that hold the key rings, by their settings; without them registrations and contents are lost.
RING_FILES: Final = {TARGET_KEYS: "target.keys", DATA_KEYS: "data.keys"}
#: All files with secrets that a start makes, by their settings.
SECRET_FILES: Final = {**RING_FILES, AUDIT_KEY: "audit.key", FLOWER_AUTH: "flower.auth"}
#: The public key with which anyone can check the audit trail.
AUDIT_PUBLIC_FILE: Final = "audit.pub"
#: The lock of `relay vault`, which changes the rings while `relay up` holds its own lock.
_RINGS_LOCK: Final = "vault.lock"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.,:/@%+=?\[\]-]*")


@dataclass(frozen=True, slots=True)
class DataDir:
    """A directory with mode 0700 whose files have mode 0600, and the ports of the start that uses it."""

    path: Path
    ports: FreePorts = field(default_factory=FreePorts, compare=False, repr=False)

    @classmethod
    def make(cls, path: str | Path) -> DataDir:
        """Make the directory and its folders (logs, passwords, embedded server), unless they exist.

        Raises:
            SettingsError: ``relay up`` did not make the directory, it is another user's, or it cannot be made or named.
        """
        root = Path(path).expanduser().resolve()
        _refuse_unwritable(root)
        _refuse_foreign(root)
        try:
            for each in (root, root / "logs", root / "passwords", root / "valkey"):
                cls.make_folder(each)
        except OSError:
            raise SettingsError(
                "The data directory cannot be made, or belongs to another user: use another --data-dir."
            ) from None
        return cls(root)

    @staticmethod
    def make_folder(folder: Path) -> Path:
        """Make a folder unless it exists, allow access to its owner only, and return it."""
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        return folder

    @property
    def server(self) -> Path:
        """The folder in which the embedded server keeps its files."""
        return self.path / "valkey"

    @property
    def cluster(self) -> Path:
        """The folder in which each server of an embedded cluster has a folder for its files."""
        return self.path / "cluster"

    @property
    def logs(self) -> Path:
        """The folder of the children's logs, ``<name>.log``."""
        return self.path / "logs"

    @property
    def env_file(self) -> Path:
        """The file with the settings that ``relay up`` runs with, from which other commands read them."""
        return self.path / ENV_FILE

    def passwords(self) -> set[str]:
        """Return the passwords of the embedded server's users."""
        return {self.read_secret(f"passwords/{path.name}") for path in (self.path / "passwords").glob("*")} - {""}

    def has_records(self) -> bool:
        """Return whether an embedded server has written here before."""
        return self.has_cluster() or any((self.server / "appendonlydir").glob("*"))

    def has_cluster(self) -> bool:
        """Return whether the records here are those of an embedded cluster."""
        return any(self.cluster.glob("*/appendonlydir/*"))

    def log(self, name: str) -> Path:
        """Return the path of a child's log."""
        return self.logs / f"{name}.log"

    def lock(self) -> IO[str]:
        """Lock the directory for this process, until the returned file is closed; raise ``SettingsError`` if in use."""
        return _locked(
            self.path / "lock",
            SettingsError("`relay up` already runs on this data directory: stop it first, or use another --data-dir."),
        )

    def lock_rings(self) -> IO[str]:
        """Lock the key rings in the directory, until the returned file is closed; raise ``Conflict`` if in use."""
        return _locked(
            self.path / _RINGS_LOCK,
            Conflict("Another `relay vault` command is changing the key rings: wait until it has ended."),
        )

    def secret(self, name: str, make: Callable[[], str]) -> str:
        """Return the text of a private file; if it does not exist, write it with ``make()`` first."""
        if not (self.path / name).exists():
            self.write(name, make() + "\n")
        return self.read_secret(name)

    def read_secret(self, name: str) -> str:
        """Return the text of a private file; raise ``SettingsError`` unless this user alone can read it."""
        try:
            return read_private_file(self.path / name)
        except SettingsError as error:
            raise SettingsError(f"{name} in the data directory {error.message}.") from None

    def write(self, name: str, text: str) -> None:
        """Replace a file atomically, so that neither a reader nor a crash leaves half of it."""
        write_private_file(self.path / name, text)

    def write_environ(self, variables: Mapping[str, str]) -> None:
        """Write ``relay.env``, one ``NAME=value`` per line, quoted (as dotenv reads it) only if needed."""
        self.write(ENV_FILE, "".join(f"{name}={_env_value(text)}\n" for name, text in variables.items()))

    def port(self, name: str) -> int:
        """Take a free loopback port for ``name`` and return it: the same as last time if that is still free."""
        saved = self.saved_port(name)
        if saved is not None and self.ports.take(saved):
            return saved
        port = self.ports.choose()
        self.write(f"{name}.port", f"{port}\n")
        return port

    def saved_port(self, name: str) -> int | None:
        """Return the port that the last start took for ``name``; None if that is not known."""
        try:
            text = (self.path / f"{name}.port").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return int(text) if text.isdigit() else None

    def saved_ports(self) -> set[int]:
        """Return all ports that the last start took."""
        return {port for path in self.path.glob("*.port") if (port := self.saved_port(path.stem)) is not None}


def _locked(path: Path, refusal: RelayError) -> IO[str]:
    """Lock a file for this process, until it is closed; raise the refusal if another process has locked it."""
    file = path.open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise refusal from None
    return file


def new_flower_auth() -> str:
    """Make a user and a password for Flower."""
    return f"relay:{secrets.token_urlsafe(24)}"


def _refuse_unwritable(root: Path) -> None:
    """Raise ``SettingsError`` if the path is no text that the server's configuration can name."""
    try:
        str(root).encode()
    except UnicodeEncodeError:
        raise SettingsError("The data directory's path is not UTF-8: use another --data-dir.") from None


def _refuse_foreign(root: Path) -> None:
    """Raise ``SettingsError`` unless ``relay up`` made the directory, or it is missing, or has at most key files."""
    try:
        names = {each.name for each in root.iterdir()} if root.exists() else set()
        is_ours = not root.exists() or root.stat().st_uid == os.geteuid()
    except OSError:
        raise SettingsError("The data directory cannot be read: use another --data-dir.") from None
    # Before a restore, key files are put into a directory that has nothing else.
    begun = {"logs", "passwords", "valkey", *SECRET_FILES.values(), AUDIT_PUBLIC_FILE, _RINGS_LOCK}
    if not is_ours or (not names & {ENV_FILE, "lock"} and not names <= begun):
        raise SettingsError(
            "The data directory exists, but `relay up` did not make it: use another --data-dir, or an empty one."
        )


def _env_value(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
