"""Provides the certificate authorities that endpoints are verified against: certifi's and those of RELAY_CA_FILE."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO, Final

import certifi

from relay.errors import SettingsError

_PEM_MARK: Final = b"-----BEGIN CERTIFICATE-----"


class Trust:
    """One PEM file, at ``path``, with all authorities; it is readable for as long as this object lives.

    libcurl reuses the parsed authorities for all connections only if they are in one file: it would parse a directory
    or a blob again for each.
    """

    def __init__(self, ca_file: str | None) -> None:
        """Raise SettingsError if ``ca_file`` cannot be read or holds no certificate."""
        self.path = certifi.where()
        self._file: IO[bytes] | None = None
        if ca_file:
            self._file = _joined(Path(self.path).read_bytes(), _further(ca_file))
            self.path = _path_of(self._file)

    def close(self) -> None:
        """Forget the joined file, if there is one."""
        if self._file is not None:
            self._file.close()


def _further(ca_file: str) -> bytes:
    try:
        content = Path(ca_file).read_bytes()
    except OSError:
        raise SettingsError("RELAY_CA_FILE cannot be read.") from None
    if _PEM_MARK not in content:
        raise SettingsError("RELAY_CA_FILE holds no PEM certificate.")
    return content


def _joined(*parts: bytes) -> IO[bytes]:
    """Write the parts to a file, without a name if possible, so that no clean-up of temporary files removes it."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("relay-ca"), "wb")
    else:
        file = tempfile.NamedTemporaryFile(prefix="relay-ca-", suffix=".pem")  # noqa: SIM115 - lives as long as Trust
    file.write(b"\n".join(parts))
    file.flush()
    return file


def _path_of(file: IO[bytes]) -> str:
    return f"/proc/self/fd/{file.fileno()}" if isinstance(file.name, int) else str(file.name)
