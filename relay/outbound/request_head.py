"""Writes the header lines of a request for libcurl."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.outbound.content_coding import OFFERED
from relay.request.rendering import OutgoingHeaders

if TYPE_CHECKING:
    from requests import PreparedRequest

# Unless the request has them: headers that libcurl would add by itself are suppressed, and the codings are offered.
_UNLESS_GIVEN: Final = {
    "accept": "Accept:",
    "accept-encoding": f"Accept-Encoding: {OFFERED}",
    "content-type": "Content-Type:",
    "user-agent": "User-Agent:",
}


class UnsafeHeader(ValueError):
    """The request is not one that ``rendering`` makes; nothing of it was sent."""


def header_lines(request: PreparedRequest) -> list[str]:
    """Return lines for the request's headers and the codings that are offered.

    Raises UnsafeHeader if one could break out of its line.
    """
    headers = request.headers if isinstance(request.headers, OutgoingHeaders) else OutgoingHeaders(request.headers)
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in headers.pairs()]
    joined = "".join(lines)
    if not (joined.isascii() and joined.isprintable()):
        raise UnsafeHeader("A header is not visible ASCII.")
    given = headers.lowered()
    return ["Expect:", *lines, *[line for name, line in _UNLESS_GIVEN.items() if name not in given]]
