"""Reads request bodies; checks media type, encoding and size before and while it reads."""

from __future__ import annotations

import re
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, Self

from relay.errors import BadParameter, TooLarge, Unavailable, UnsupportedMediaType
from relay.text.strict_json import read_json

if TYPE_CHECKING:
    from collections.abc import Collection
    from contextlib import AbstractContextManager

    import falcon

NDJSON: Final = "application/x-ndjson"
#: Smaller bodies are not counted: one in every thread still adds up to little.
SMALL_BYTES: Final = 64 * 1024
_AT_ONCE: Final = nullcontext()
_PIECE_BYTES: Final = 65_536
_LENGTH: Final = re.compile(r"[0-9]{1,15}\Z", re.ASCII)
_UTF8: Final = re.compile(r'\s*charset\s*=\s*"?utf-8"?\s*\Z', re.ASCII | re.IGNORECASE)


def media_type(req: falcon.Request, accepted: Collection[str]) -> str:
    """Return the body's media type; raise ``UnsupportedMediaType`` if it is not ``accepted`` or the body is encoded."""
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


def has_body(req: falcon.Request) -> bool:
    """Return whether the request's headers announce a body of at least one byte."""
    return "HTTP_TRANSFER_ENCODING" in req.env or bool(_content_length(req))


def has_unread_body(req: falcon.Request) -> bool:
    """Return whether the request announced a body that was not read to its end; its answer must close the connection.

    The server closes such a connection, unless the whole body has arrived already (RFC 9112, 9.3). It may find that out
    only after it has sent the head of the answer; a client that was not told would then lose its next request.
    """
    if req.context.is_body_read:
        return False
    return req.env.get("CONTENT_LENGTH", "") not in {"", "0"} or "HTTP_TRANSFER_ENCODING" in req.env


class Body:
    """A body that was read. As a context manager, it counts as in memory until the context ends.

    ``parsing`` is the context in which to parse it, which large bodies enter one at a time.
    """

    __slots__ = ("_bodies", "_taken_bytes", "content", "parsing")

    def __init__(
        self, content: bytes, parsing: AbstractContextManager[object], bodies: Bodies, taken_bytes: int
    ) -> None:
        self.content = content
        self.parsing = parsing
        self._bodies = bodies
        self._taken_bytes = taken_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._taken_bytes:
            self._bodies.give_back(self._taken_bytes)

    def json(self) -> Any:
        """Return the parsed content; raise `MalformedJson` if it is not JSON."""
        with self.parsing:
            return read_json(self.content)


class Bodies:
    """Reads bodies of at most ``max_bytes`` each, and of ``max_parsing_bytes`` together.

    A body takes several times its size while it is parsed, checked and sealed, so the total is bounded; a body
    larger than that is accepted if there is no other. Large bodies are parsed one after the other: each holds the
    interpreter for some milliseconds, and other threads should not have to wait for more than one.
    """

    def __init__(self, *, max_bytes: int, max_parsing_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._max_parsing_bytes = max_parsing_bytes
        self._taken_bytes = 0
        self._lock = threading.Lock()
        self._parsing = threading.Lock()

    def read(self, req: falcon.Request) -> Body:
        """Read the whole body; it counts against the total until its context ends.

        Granian hides a Content-Length that comes with Transfer-Encoding: it reads in chunks and then closes the
        connection (RFC 9112, 6.1).

        Raises:
            TooLarge: the body is too large; if its Content-Length says so, nothing of it is read.
            BadParameter: Content-Length is malformed or comes with Transfer-Encoding, or the body ended too early.
            Unavailable: too many bytes are in memory already.
        """
        length, chunked = _content_length(req), "HTTP_TRANSFER_ENCODING" in req.env
        if length is not None and chunked:
            raise BadParameter("Content-Length and Transfer-Encoding cannot be used together.")
        if not chunked and not length:
            return Body(b"", _AT_ONCE, self, 0)
        if length is not None and length > self._max_bytes:
            raise self._too_large()
        taken_bytes = self._take(self._max_bytes if length is None else length)
        try:
            stream = req.env["wsgi.input"]
            content = self._chunked(stream) if length is None else _read(stream, length)
        except BaseException:
            self.give_back(taken_bytes)
            raise
        req.context.is_body_read = True
        return Body(content, _AT_ONCE if len(content) <= SMALL_BYTES else self._parsing, self, taken_bytes)

    def _take(self, size_bytes: int) -> int:
        """Reserve the bytes of a body; return what to pass to ``give_back``, or raise ``Unavailable``."""
        if size_bytes <= SMALL_BYTES:
            return 0
        with self._lock:
            if self._taken_bytes and self._taken_bytes + size_bytes > self._max_parsing_bytes:
                raise Unavailable("Too many large bodies are being read: send this one again later.")
            self._taken_bytes += size_bytes
        return size_bytes

    def give_back(self, taken_bytes: int) -> None:
        """Release the bytes that a body has reserved."""
        if taken_bytes:
            with self._lock:
                self._taken_bytes -= taken_bytes

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body is larger than {self._max_bytes} bytes.")

    def _chunked(self, stream: Any) -> bytes:
        """Read a chunked body in one call.

        Read piece by piece, a body with a malformed or truncated chunk just seems to end there: Granian reports no
        error. Read as a whole, such a body comes back empty. A proxy limits how much can arrive in that time.
        """
        body: bytes = stream.read()
        if len(body) > self._max_bytes:
            raise self._too_large()
        if not body:
            raise BadParameter("The chunked body is empty, malformed, or ended before its last chunk.")
        return body


def _content_length(req: falcon.Request) -> int | None:
    text = req.env.get("CONTENT_LENGTH", "").strip()
    if not text:
        return None
    if not _LENGTH.match(text):
        raise BadParameter("Content-Length is not a number.")
    return int(text)


def _read(stream: Any, length: int) -> bytes:
    """Read a body of ``length`` bytes."""
    pieces, left_bytes = [], length
    while left_bytes:
        piece = stream.read(min(_PIECE_BYTES, left_bytes))
        if not piece:
            raise BadParameter("The body ended before its Content-Length.")
        pieces.append(piece)
        left_bytes -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
