"""Files that a caller gives as members of data, for a webhook that is registered with ``payload: "multipart"``."""

from __future__ import annotations

import base64
import io
import mimetypes
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any, Self

from relay.text.media_types import BYTES_TYPE


@dataclass(frozen=True, slots=True)
class FileCopy:
    """A file as it was when the call was made."""

    filename: str
    content_type: str
    content: bytes

    @classmethod
    def of(cls, file: IO[bytes], name: str) -> Self:
        """Read an open file to its end; ``name`` is its file name if it has none of its own.

        Raises:
            TypeError: it was opened as text.
            OSError, ValueError: it cannot be read.
        """
        own = getattr(file, "name", None)
        filename = (PurePath(own).name if isinstance(own, str) else "") or name
        content = file.read()
        if not isinstance(content, bytes):
            raise TypeError
        return cls(filename, mimetypes.guess_type(filename)[0] or BYTES_TYPE, content)

    def to_value(self) -> dict[str, str]:
        """Return the file as JSON carries it."""
        content = base64.b64encode(self.content).decode("ascii")
        return {"filename": self.filename, "contentType": self.content_type, "content": content}


def is_file(value: Any) -> bool:
    """Return whether a value is an open file, or wraps one as `tempfile` does."""
    return isinstance(value, io.IOBase) or isinstance(getattr(value, "file", None), io.IOBase)
