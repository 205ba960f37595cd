"""Reads and writes files that contain secrets, which no other user can read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from relay.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

_MAX_CHARS: Final = 64 * 1024


def read_private_file(path: Path) -> str:
    """Read a file of at most 65,536 characters, without the blanks around its text.

    Raises ``SettingsError``, which does not name the file, if it is longer, unreadable, or readable by other users.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError("can be read by other users: chmod 600 it, and change what it holds if others saw it")
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_CHARS + 1)
    except (OSError, UnicodeDecodeError):
        raise SettingsError("cannot be read: it has to be a text file of this user") from None
    if len(text) > _MAX_CHARS:
        raise SettingsError(f"is longer than {_MAX_CHARS} characters")
    return text.strip()


def write_private_file(path: Path, text: str) -> None:
    """Replace a file atomically, so that neither a reader nor a crash leaves half of it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
