"""Reads request bodies; checks media type, encoding and size before and while it reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Self

from api.parsing_budget import SMALL_BYTES
from relay.errors import BadParameter, TooLarge, UnsupportedMediaType
from relay.text.strict_json import read_json

if TYPE_CHECKING:
    from collections.abc import Collection
    from contextlib import AbstractContextManager

    import falcon

    from api.parsing_budget import ParsingBudget

NDJSON: Final = "application/x-ndjson"
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
    """Return whether the request announced a body that was not read to its end; its answer must end the connection.

    The server closes such a connection, unless the whole body has arrived already (RFC 9112, 9.3). It may find that out
    only after it has sent the head of the answer; a client that was not told would then lose its next request.
    """
    if req.context.is_body_read:
        return False
    return req.env.get("CONTENT_LENGTH", "") not in {"", "0"} or "HTTP_TRANSFER_ENCODING" in req.env


class Body:
    """A body that was read. Used as a context, it counts against the budget until the context ends."""

    __slots__ = ("_budget", "_taken_bytes", "content")

    def __init__(self, content: bytes, budget: ParsingBudget, taken_bytes: int) -> None:
        self.content = content
        self._budget = budget
        self._taken_bytes = taken_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.give_back(self._taken_bytes)

    def json(self) -> Any:
        """Return the parsed content; raise `MalformedJson` if it is not JSON."""
        if len(self.content) <= SMALL_BYTES:
            return read_json(self.content)
        with self.parsing:
            return read_json(self.content)

    @property
    def parsing(self) -> AbstractContextManager[object]:
        """The context in which to parse the body, which large bodies enter one at a time."""
        return self._budget.parsing(len(self.content))


class Bodies:
    """Reads bodies of at most ``max_bytes``, within the budget of bytes in memory."""

    def __init__(self, budget: ParsingBudget, *, max_bytes: int) -> None:
        self._budget = budget
        self._max_bytes = max_bytes

    def read(self, req: falcon.Request) -> Body:
        """Read the whole body; it counts against the budget until its context ends.

        Granian hides a Content-Length that comes with Transfer-Encoding: it reads by chunks and then closes the
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
            return Body(b"", self._budget, 0)
        if length is not None and length > self._max_bytes:
            raise self._too_large()
        taken_bytes = self._budget.take(self._max_bytes if length is None else length)
        try:
            stream = req.env["wsgi.input"]
            content = self._chunked(stream) if length is None else _read(stream, length)
        except BaseException:
            self._budget.give_back(taken_bytes)
            raise
        req.context.is_body_read = True
        return Body(content, self._budget, taken_bytes)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body is larger than {self._max_bytes} bytes.")

    def _chunked(self, stream: Any) -> bytes:
        """Read a chunked body in one call.

        Read piece by piece, a body with a malformed or truncated chunk just seems to end there: Granian reports no
        error. Read as a whole, such a body comes back empty. A proxy bounds how much may come meanwhile.
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
