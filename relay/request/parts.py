"""Checks whether data can be sent as multipart/form-data: texts, numbers and files. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from relay.text.json_pointers import escape_step
from relay.text.media_types import BYTES_TYPE
from relay.text.scalars import is_base64

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: The most members: each is a part of about a hundred bytes more than its JSON, so this also bounds the body's size.
MAX_PARTS: Final = 1_000
MAX_FILENAME_LENGTH: Final = 255
MAX_CONTENT_TYPE_LENGTH: Final = 255

_FILE_MEMBERS: Final = ("filename", "contentType", "content")
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"  # RFC 6838, 4.2
_CONTENT_TYPE: Final = re.compile(rf"{_NAME}/{_NAME}(?: ?;[ -~]*[!-~])?\Z")


def part_faults(data: Any) -> Iterator[tuple[str, str]]:
    """Yield a pointer and a sentence for each place where data cannot be sent as multipart/form-data."""
    if not isinstance(data, dict):
        yield "", "must be an object, since it is sent as multipart/form-data"
        return
    if len(data) > MAX_PARTS:
        yield "", f"has more than {MAX_PARTS} members"
        return
    for name, value in data.items():
        place = f"/{escape_step(name)}"
        if isinstance(value, dict):
            yield from ((f"{place}{pointer}", message) for pointer, message in _file_faults(value))
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            yield place, "must be a string, a number, or a file: {filename, contentType, content}"


def _file_faults(file: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in file:
        if name not in _FILE_MEMBERS:
            yield f"/{escape_step(name)}", "is not a member of a file: {filename, contentType, content}"
    filename, content_type = file.get("filename"), file.get("contentType", BYTES_TYPE)
    if not isinstance(filename, str) or not 1 <= len(filename) <= MAX_FILENAME_LENGTH:
        yield "/filename", f"must be a string of 1 to {MAX_FILENAME_LENGTH} characters"
    is_type = isinstance(content_type, str) and len(content_type) <= MAX_CONTENT_TYPE_LENGTH
    if not is_type or not _CONTENT_TYPE.match(content_type):
        yield (
            "/contentType",
            f"must be a media type such as application/pdf, of at most {MAX_CONTENT_TYPE_LENGTH} bytes",
        )
    if not is_base64(file.get("content")):
        yield "/content", "must be base64 text (RFC 4648, section 4, with padding)"
