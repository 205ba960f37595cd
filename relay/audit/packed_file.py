"""Reads the lines of a trail's file, which gzip may have packed."""

from __future__ import annotations

import gzip
import zlib
from contextlib import nullcontext
from typing import IO, TYPE_CHECKING, Final

from relay.errors import BadParameter

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKED: Final = b"\x1f\x8b"
#: Longer than any line of an export; a file without line ends, such as `/dev/zero`, must not fill the memory.
_MAX_LINE_BYTES: Final = 64 * 1024 * 1024


def lines_in(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file from its beginning; those of a pipe, which must not be packed, as they come."""
    try:
        is_packed = False
        if file.seekable():
            file.seek(0)
            is_packed = file.read(len(_PACKED)) == _PACKED
            file.seek(0)
        with gzip.open(file) if is_packed else nullcontext(file) as lines:
            while line := lines.readline(_MAX_LINE_BYTES):
                if len(line) == _MAX_LINE_BYTES:
                    raise BadParameter("The trail's file has a line that is too long for `relay audit export`.")
                yield line
    except (OSError, EOFError, zlib.error):
        raise BadParameter("The trail's file cannot be read to its end: give a whole file.") from None
