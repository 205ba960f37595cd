"""Writes data as multipart/form-data (RFC 7578), with a new boundary for each body.

urllib3 escapes names and filenames as browsers do (HTML standard, "multipart/form-data encoding algorithm").
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from relay.text.media_types import BYTES_TYPE
from relay.text.scalars import scalar_text

if TYPE_CHECKING:
    from collections.abc import Mapping


def multipart(data: Mapping[str, Any]) -> tuple[bytes, str]:
    """Write data in which ``part_faults`` finds nothing; return the body and its Content-Type."""
    return encode_multipart_formdata([_part(name, value) for name, value in data.items()])


def _part(name: str, value: Any) -> RequestField:
    if isinstance(value, dict):
        part = RequestField(name, b64decode(value["content"]), filename=value["filename"])
        part.make_multipart(content_type=value.get("contentType", BYTES_TYPE))
    else:
        part = RequestField(name, scalar_text(value) or "")
        part.make_multipart()
    return part
