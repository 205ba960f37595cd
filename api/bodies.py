"""Reads request bodies: media type, encoding and size are checked before, and while, a byte is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from relay.errors import BadParameter, TooLarge, UnsupportedMediaType

if TYPE_CHECKING:
    from collections.abc import Collection

    import falcon

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
_PIECE_BYTES: Final = 65_536
_LENGTH: Final = re.compile(r"[0-9]{1,15}\Z", re.ASCII)
_UTF8: Final = re.compile(r'\s*charset\s*=\s*"?utf-8"?\s*\Z', re.ASCII | re.IGNORECASE)


def media_type(req: falcon.Request, accepted: Collection[str]) -> str:
    """The body's media type, one of ``accepted``; ``UnsupportedMediaType`` for others, and for encoded bodies."""
    essence, *parameters = (req.content_type or "").split(";")
    essence = essence.strip().lower()
    if essence not in accepted:
        raise UnsupportedMediaType(f"The body has to be {' or '.join(accepted)}.")
    for parameter in parameters:
        if parameter.strip().lower().startswith("charset") and not _UTF8.match(parameter):
            raise UnsupportedMediaType("The body has to be UTF-8.")
    if req.env.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() not in {"", "identity"}:
        raise UnsupportedMediaType("A body with a Content-Encoding is not accepted.")
    if req.env.get("HTTP_TRANSFER_ENCODING", "chunked").strip().lower() != "chunked":
        raise UnsupportedMediaType("No transfer coding other than chunked is accepted.")
    return essence


def read_body(req: falcon.Request, max_bytes: int) -> bytes:
    """The whole body.

    Reads the server's own stream: Falcon's `bounded_stream` takes a chunked body for an empty one. Granian shows no
    Content-Length beside Transfer-Encoding: it goes by the chunks and then closes the connection (RFC 9112, 6.1).

    Raises:
        TooLarge: more than ``max_bytes``; by its Content-Length without reading any of it.
        BadParameter: a bad Content-Length, one beside Transfer-Encoding, or a body that ended before it.
    """
    length = _content_length(req)
    chunked = "HTTP_TRANSFER_ENCODING" in req.env
    if length is not None and chunked:
        raise BadParameter("Content-Length and Transfer-Encoding cannot be used together.")
    if length is None and not chunked and not req.env.get("wsgi.input_terminated"):
        return b""
    if length is not None and length > max_bytes:
        raise TooLarge
    body = _read(req, max_bytes if length is None else length)
    if length is not None and len(body) < length:
        raise BadParameter("The body ended before its Content-Length.")
    return body


def _content_length(req: falcon.Request) -> int | None:
    text = req.env.get("CONTENT_LENGTH", "").strip()
    if not text:
        return None
    if not _LENGTH.match(text):
        raise BadParameter("Content-Length is not a number.")
    return int(text)


def _read(req: falcon.Request, limit_bytes: int) -> bytes:
    """Up to the stream's end; ``TooLarge`` as soon as there is more than the limit."""
    stream = req.env["wsgi.input"]
    terminated = req.env.get("wsgi.input_terminated") or "HTTP_TRANSFER_ENCODING" in req.env
    pieces, size_bytes = [], 0
    while terminated or size_bytes < limit_bytes:
        # One byte beyond the limit tells too much from just enough; a stream without an end is not read that far.
        piece = stream.read(min(_PIECE_BYTES, limit_bytes + bool(terminated) - size_bytes))
        if not piece:
            break
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes > limit_bytes:
            raise TooLarge
    return b"".join(pieces)
