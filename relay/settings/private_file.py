"""Reads files that contain secrets, and only if no other user can read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

_MAX_BYTES: Final = 64 * 1024


def read_private_file(path: Path) -> str:
    """Read a file; raise ``SettingsError``, which does not name it, if it is unreadable or other users may read it."""
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError("can be read by other users: chmod 600 it, and change what it holds if others saw it")
        with path.open(encoding="utf-8") as file:
            return file.read(_MAX_BYTES).strip()
    except (OSError, UnicodeDecodeError):
        raise SettingsError("cannot be read: it has to be a text file of this user") from None
