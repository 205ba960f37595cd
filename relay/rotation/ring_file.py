"""The file of a key ring, ``id:base64,...``: keys are added, promoted and retired in it while processes follow it."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from relay.errors import Conflict, SettingsError
from relay.settings.private_file import read_private_file
from relay.vault import MAX_KEYS, Vault

if TYPE_CHECKING:
    from pathlib import Path


#: How `Vault.new_key_text` names a key.
_DATED: Final = re.compile(r"k(\d{14})-", re.ASCII)


@dataclass(frozen=True, slots=True)
class RingFile:
    """One ring: the first key seals, every key opens. Methods raise ``SettingsError`` where the file is no ring."""

    name: str  # "target" or "data"
    path: Path

    def vault(self) -> Vault:
        """Return the vault of this ring, which follows the file."""
        return Vault.from_file(self.path)

    def key_ids(self) -> tuple[str, ...]:
        """Return the ids of the ring; the first one seals."""
        return self.vault().key_ids

    def add(self) -> str:
        """Add a new key that opens and does not seal yet; returns its id. Raises ``Conflict`` for a full ring."""
        entries = self._entries()
        if len(entries) >= MAX_KEYS:
            raise Conflict(f"The {self.name} ring is full: retire a key first.")
        newest, entry = max(_made(_id_of(each)) for each in entries), Vault.new_key_text()
        while _made(_id_of(entry)) <= newest:  # ids tell seconds, and which key is the newest
            time.sleep(0.1)
            entry = Vault.new_key_text()
        self._write([*entries, entry])
        return _id_of(entry)

    def newest_id(self) -> str:
        """Return the id of the key that was made last, which its id tells; of others, the last one of the ring."""
        return max(enumerate(self.key_ids()), key=lambda pair: (_made(pair[1]), pair[0]))[1]

    def promote(self, key_id: str) -> None:
        """Let a key of the ring seal from now on."""
        entries = self._entries()
        chosen = [entry for entry in entries if _id_of(entry) == key_id]
        if not chosen:
            raise SettingsError(f"The {self.name} ring has no key {key_id}.")
        self._write(chosen + [entry for entry in entries if _id_of(entry) != key_id])

    def retire(self, key_id: str, *, keep_mac: bool) -> None:
        """Take a key out of the ring; with ``keep_mac`` but for the part that recognises Idempotency-Keys.

        Whoever calls this has made sure that nothing is sealed under it any more.
        """
        entries = self._entries()
        if _id_of(entries[0]) == key_id:
            raise Conflict(f"{key_id} seals: promote another key of the {self.name} ring first.")
        kept = [Vault.retired_text(entry) if _id_of(entry) == key_id else entry for entry in entries]
        self._write(kept if keep_mac else [entry for entry in kept if _id_of(entry) != key_id])

    def retired_ids(self) -> tuple[str, ...]:
        """Return the ids of retired keys of which the part for MACs is still kept."""
        return tuple(_id_of(entry) for entry in self._entries() if _id_of(entry) not in self.key_ids())

    def text(self) -> str:
        """Return the ring as it stands in the file, keys in clear."""
        return read_private_file(self.path)

    def _entries(self) -> list[str]:
        return [entry.strip() for entry in self.text().split(",")]

    def _write(self, entries: list[str]) -> None:
        """Replace the file at once, so that a reader or a crash never meets half a ring."""
        text = ",".join(entries) + "\n"
        Vault.from_text(text)
        partial = self.path.with_name(f"{self.path.name}.partial")
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)


def _made(key_id: str) -> str:
    found = _DATED.match(key_id)
    return found[1] if found else ""


def _id_of(entry: str) -> str:
    return entry.partition(":")[0]
