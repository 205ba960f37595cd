"""The manifest of a backup: what it holds, when it was made, and the hashes of its files. The key ring vouches for it.

It names the keys of both rings, without which parts of the backup do not open.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Self

from relay.errors import BadParameter
from relay.store.backups.copying import BackupCounts
from relay.store.partitions.format import format_refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from relay.vault import Vault

FILE: Final = "manifest.json"
#: The form of a backup; another one is refused.
FORMAT: Final = 1
_PURPOSE: Final = b"manifest of a backup"
_PIECE_BYTES: Final = 1 << 20
_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class BackupFile:
    """The snapshot of one server: which partitions it holds, and whether it also holds the shared Redis keys."""

    name: str
    size_bytes: int
    sha256: str
    server: str  # its name and version
    database: int
    partitions: tuple[int, ...]
    shared: bool
    counts: BackupCounts


@dataclass(frozen=True, slots=True)
class Manifest:
    """A backup; times are RFC 3339 by the clock of the machine on which it was made."""

    backup: str  # its id
    relay: str  # version
    began_at: str
    ended_at: str
    epoch: int  # of the store: that of a restore is higher
    partitions: int
    store_format: int  # of what the servers hold (relay/store/partitions/format.py)
    files: tuple[BackupFile, ...]
    elsewhere: Mapping[str, str]  # where the key rings and the audit key were, which a restore needs
    rings: Mapping[str, Collection[str]]  # by the setting of a key ring, the ids of the keys that opened values then

    @property
    def counts(self) -> BackupCounts:
        """What all files hold together."""
        return sum((file.counts for file in self.files), BackupCounts())

    def to_json(self, vault: Vault) -> str:
        """Return the text of the manifest, with a MAC by the newest key of the data ring."""
        value = {
            "format": FORMAT,
            "backup": self.backup,
            "relay": self.relay,
            "beganAt": self.began_at,
            "endedAt": self.ended_at,
            "epoch": self.epoch,
            "partitions": self.partitions,
            "storeFormat": self.store_format,
            "counts": asdict(self.counts),
            "files": [
                {
                    "name": file.name,
                    "sizeBytes": file.size_bytes,
                    "sha256": file.sha256,
                    "server": file.server,
                    "database": file.database,
                    "partitions": list(file.partitions),
                    "shared": file.shared,
                    "counts": asdict(file.counts),
                }
                for file in self.files
            ],
            "elsewhere": dict(self.elsewhere),
            "rings": {name: list(ids) for name, ids in self.rings.items()},
        }
        return json.dumps({**value, "mac": vault.macs(_PURPOSE, _canonical(value))[0]}, indent=2) + "\n"

    @classmethod
    def read(cls, folder: Path, vault: Vault) -> Self:
        """Read the manifest of a backup, and compare every file with it.

        Raises ``BadParameter``, which says what is wrong.
        """
        try:
            with (folder / FILE).open("rb") as file:
                value = json.loads(file.read(_MAX_BYTES))
            manifest = cls._from_value(value, vault)
        except FileNotFoundError:
            raise BadParameter(
                f"There is no {FILE} in that directory: it is not a backup, or one that was not completed."
            ) from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise BadParameter(f"{FILE} cannot be read as the manifest of a backup.") from None
        for each in manifest.files:
            _compare(folder / each.name, each)
        return manifest

    def check_rings(self, held: Mapping[str, Collection[str]]) -> None:
        """Raise ``BadParameter`` if a ring lacks a key that it had at the backup; ``held`` has the ids as ``rings``."""
        for name, ids in self.rings.items():
            lacking = ", ".join(sorted(set(ids) - set(held[name])))
            if lacking:
                raise BadParameter(
                    f"{name} lacks keys that it had at the backup, and what they sealed would be lost: {lacking}. Put"
                    f" them into the ring again (it was in {self.elsewhere.get(name)}), and restart processes that do"
                    " not read it from a file."
                )

    @classmethod
    def _from_value(cls, value: dict[str, Any], vault: Vault) -> Self:
        if value["format"] != FORMAT:
            raise BadParameter(f"The backup has form {value['format']}, and this version of the relay reads {FORMAT}.")
        if not vault.has_signed(str(value.pop("mac")), _PURPOSE, _canonical(value)):
            raise BadParameter(
                "No key of RELAY_DATA_KEYS has signed the manifest: the backup belongs to another key ring, or to a key"
                " that was retired (`elsewhere` in the manifest says where the ring was), or the manifest was changed."
            )
        store_format = value.get("storeFormat", 1)  # older backups have none
        if refusal := format_refusal(store_format):
            raise BadParameter(refusal)
        return cls(
            value["backup"],
            value["relay"],
            value["beganAt"],
            value["endedAt"],
            value["epoch"],
            value["partitions"],
            store_format,
            tuple(_file_from(each) for each in value["files"]),
            value["elsewhere"],
            value.get("rings", {}),  # older backups name none
        )


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _file_from(value: Mapping[str, Any]) -> BackupFile:
    return BackupFile(
        value["name"],
        value["sizeBytes"],
        value["sha256"],
        value["server"],
        value["database"],
        tuple(value["partitions"]),
        value["shared"],
        BackupCounts(**{each.name: value["counts"][each.name] for each in fields(BackupCounts)}),
    )


def _compare(path: Path, file: BackupFile) -> None:
    digest, size_bytes = hashlib.sha256(), 0
    try:
        with path.open("rb") as stream:
            while piece := stream.read(_PIECE_BYTES):
                digest.update(piece)
                size_bytes += len(piece)
    except OSError:
        raise BadParameter(f"The backup lacks {file.name}, or it cannot be read.") from None
    if size_bytes != file.size_bytes or digest.hexdigest() != file.sha256:
        raise BadParameter(f"{file.name} is not the file that the manifest names: it was changed or cut off.")
