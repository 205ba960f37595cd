"""Checks a new API key's plugin, scopes, origins and name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from relay.errors import Fault
from relay.registration.endpoint import DEFAULT_PORTS
from relay.text.hosts import MAX_PORT, NAME, PORT
from relay.text.ids import ID_PATTERN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

#: ``metrics`` gives access to the whole relay's metrics; the others concern the key's own plugin only.
SCOPES: Final = ("trigger", "operate", "metrics")
MAX_ORIGINS: Final = 32  # of one key
MAX_ORIGIN_CHARS: Final = 300

_NAME: Final = re.compile(r"(?=.{0,100}\Z)(?:[!-~]+(?: [!-~]+)*)?\Z", re.ASCII)
_ORIGIN: Final = re.compile(rf"(https?)://(?:{NAME}|\[[0-9a-f:.]{{2,45}}\])(?::({PORT}))?\Z", re.ASCII)


def origin_fault(origin: str) -> str | None:
    """Return what is wrong with an allowed origin (RFC 6454, in the form that browsers send); None if it is valid."""
    found = _ORIGIN.match(origin) if len(origin) <= MAX_ORIGIN_CHARS else None
    if found is None:
        return "must be scheme://host or scheme://host:port, in lower case, without a path or *"
    scheme, port = found[1], int(found[2] or 0)
    if port > MAX_PORT:
        return f"has a port above {MAX_PORT}"
    if port == DEFAULT_PORTS[scheme]:
        return f"must leave out :{port}, as browsers do"
    return None


def key_faults(plugin: str, scopes: Collection[str], origins: Collection[str], name: str) -> Iterator[Fault]:
    """Yield what is wrong with the attributes of a new key."""
    if not ID_PATTERN.match(plugin):
        yield Fault("/plugin", "must have the form of an id")
    if not scopes or not set(scopes) <= set(SCOPES):
        yield Fault("/scopes", f"must be one or more of {', '.join(SCOPES)}")
    if not _NAME.match(name):
        yield Fault("/name", "must be at most 100 visible characters, with single spaces between them")
    if len(origins) > MAX_ORIGINS:
        yield Fault("/origins", f"must be at most {MAX_ORIGINS}")
    for index, origin in enumerate(origins):
        if sentence := origin_fault(origin):
            yield Fault(f"/origins/{index}", sentence)
