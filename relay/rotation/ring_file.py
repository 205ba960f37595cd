"""Adds, promotes and retires keys in the file of a key ring, ``id:base64,...``, which running processes follow."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from relay.errors import Conflict, SettingsError
from relay.settings.private_file import read_private_file, write_private_file
from relay.vault import MAX_KEYS, Vault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


#: The form of key ids that `Vault.new_key_text` makes.
_DATED: Final = re.compile(r"k(\d{14})-", re.ASCII)


@dataclass(frozen=True, slots=True)
class RingFile:
    """One ring: the first key seals, every key opens. Methods raise ``SettingsError`` if the file is not a ring."""

    name: str  # "target" or "data"
    path: Path

    def vault(self) -> Vault:
        """Return the vault of this ring, which follows the file."""
        with self._named():
            return Vault.from_file(self.path)

    def key_ids(self) -> tuple[str, ...]:
        """Return the ids of the ring's keys; the first one seals."""
        return self.vault().key_ids

    def add(self) -> str:
        """Add a new key that opens but does not seal yet; return its id. Raises ``Conflict`` if the ring is full."""
        entries = self._entries()
        if len(entries) >= MAX_KEYS:
            raise Conflict(f"The {self.name} ring is full: retire a key first.")
        newest, entry = max(_date_of(_id_of(each)) for each in entries), Vault.new_key_text()
        while _date_of(_id_of(entry)) <= newest:  # ids contain the second, which tells which key is the newest
            time.sleep(0.1)
            entry = Vault.new_key_text()
        self._write([*entries, entry])
        return _id_of(entry)

    def newest_id(self) -> str:
        """Return the id of the newest key by the dates in the ids; if none has a date, that of the ring's last key."""
        return max(enumerate(self.key_ids()), key=lambda pair: (_date_of(pair[1]), pair[0]))[1]

    def promote(self, key_id: str) -> None:
        """Make a key of the ring the one that seals."""
        entries = self._entries()
        chosen = [entry for entry in entries if _id_of(entry) == key_id]
        if not chosen:
            raise SettingsError(f"The {self.name} ring has no key {key_id}.")
        self._write(chosen + [entry for entry in entries if _id_of(entry) != key_id])

    def retire(self, key_id: str, *, keep_mac: bool) -> None:
        """Remove a key from the ring; with ``keep_mac``, keep the part that recognises Idempotency-Keys.

        The caller has to make sure first that nothing is sealed under the key any more.
        """
        entries = self._entries()
        if _id_of(entries[0]) == key_id:
            raise Conflict(f"{key_id} seals: promote another key of the {self.name} ring first.")
        kept = [Vault.retired_text(entry) if _id_of(entry) == key_id else entry for entry in entries]
        self._write(kept if keep_mac else [entry for entry in kept if _id_of(entry) != key_id])

    def retired_ids(self) -> tuple[str, ...]:
        """Return the ids of retired keys whose part for MACs is still kept."""
        return tuple(_id_of(entry) for entry in self._entries() if _id_of(entry) not in self.key_ids())

    def text(self) -> str:
        """Return the text of the file, with the keys in the clear."""
        with self._named():
            return read_private_file(self.path)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the file in a fault that is found inside."""
        try:
            yield
        except SettingsError as error:
            raise SettingsError(f"{self.path.name}: {error.message}") from None

    def _entries(self) -> list[str]:
        return [entry.strip() for entry in self.text().split(",")]

    def _write(self, entries: list[str]) -> None:
        """Replace the file, if the entries are a ring."""
        text = ",".join(entries) + "\n"
        Vault.from_text(text)
        write_private_file(self.path, text)


def _date_of(key_id: str) -> str:
    found = _DATED.match(key_id)
    return found[1] if found else ""


def _id_of(entry: str) -> str:
    return entry.partition(":")[0]
