"""Takes a backup of a running store: a snapshot of each server, and a manifest, which is written last.

A plugin's keys lie on one server, so that each plugin is saved as of one moment. The server with the shared keys comes
first: a key's plugin is written before the key.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, BinaryIO, Final, Self
from uuid import uuid4

from relay.backup.manifest import FILE, BackupFile, Manifest
from relay.errors import BadParameter, Conflict, SettingsError
from relay.store.backups.copying import counts_of, roots_of
from relay.store.backups.snapshot import SnapshotSource, snapshot, sources_of
from relay.store.keys.names import SHARED_ROOT, partition_root
from relay.store.partitions.format import FORMAT, format_at
from relay.text.timestamps import rfc3339
from relay.up.alone import loaded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    import redis

    from relay.store.keys.keyspace import Keyspace
    from relay.vault import Vault

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


class Taking:
    """A backup into an empty directory: go through `steps`, then `finish`.

    As a context, it removes what it has written if an error ends it, so that the backup can be repeated.
    """

    def __init__(self, client: redis.Redis, keys: Keyspace, folder: Path) -> None:
        self._client = client
        self._keys = keys
        self._folder = folder
        self._roots = roots_of(range(keys.partitions), shared=True)
        self._began_at = _now()
        self._taken: list[tuple[SnapshotSource, str, int, str]] = []  # with file, size and hash
        self._made: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for path in self._made if kind else ():
            path.unlink(missing_ok=True)

    def steps(self) -> Iterator[int]:
        """Write the snapshots; yield how many bytes each piece had.

        Raises:
            BadParameter: the directory is not empty.
            SettingsError: the directory cannot be written to, or the server's user may not do this.
        """
        with _writing():
            self._folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            if any(self._folder.iterdir()):
                raise BadParameter("The directory of the backup is not empty: name another.")
            for number, source in enumerate(sources_of(self._client, self._roots), 1):
                yield from self._write(source, f"server{number}.rdb")

    def finish(
        self, vault: Vault, epoch: int, elsewhere: Mapping[str, str], rings: Mapping[str, Collection[str]]
    ) -> Manifest:
        """Load every file once, count what is in it, and write the manifest.

        Raises:
            SettingsError: the manifest cannot be written.
            Conflict: a server was replaced meanwhile, or a partition was moved.
        """
        ended_at = _now()
        if sources_of(self._client, self._roots) != [source for source, *_ in self._taken]:
            raise Conflict("A server of the store was replaced, or a partition was moved, meanwhile: run it again.")
        files = tuple(self._described(*taken) for taken in self._taken)
        version = metadata.version("webhook-relay")
        numbers = epoch, self._keys.partitions, format_at(self._client, SHARED_ROOT) or FORMAT
        manifest = Manifest(uuid4().hex, version, self._began_at, ended_at, *numbers, files, dict(elsewhere), rings)
        with _writing():
            with self._private(FILE) as file:
                file.write(manifest.to_json(vault).encode())
                _make_safe(file)
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)  # makes the files' names durable too
            finally:
                os.close(folder)
        return manifest

    def _write(self, source: SnapshotSource, name: str) -> Iterator[int]:
        digest, size_bytes = hashlib.sha256(), 0
        with self._private(name) as file:
            for piece in snapshot(source.server):
                file.write(piece)
                digest.update(piece)
                size_bytes += len(piece)
                yield len(piece)
            _make_safe(file)
        self._taken.append((source, name, size_bytes, digest.hexdigest()))

    def _private(self, name: str) -> BinaryIO:
        path = self._folder / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
        self._made.append(path)
        return os.fdopen(descriptor, "wb")

    def _described(self, source: SnapshotSource, name: str, size_bytes: int, sha256: str) -> BackupFile:
        partitions = tuple(n for n in range(self._keys.partitions) if partition_root(n) in source.roots)
        shared = SHARED_ROOT in source.roots
        with loaded(self._folder / name, source.database) as server:
            counts = counts_of(server, partitions, shared=shared)
        return BackupFile(name, size_bytes, sha256, source.software, source.database, partitions, shared, counts)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(f"The backup cannot be written: {error.strerror}.") from error


def _make_safe(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _now() -> str:
    return rfc3339(int(datetime.now(UTC).timestamp() * 1000)) or ""
