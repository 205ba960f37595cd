"""Knows the names by which this API is reached.

A page of another site can have its own name resolve to this API (DNS rebinding). Then the browser sends that name both
as host and as origin: that the two are equal proves nothing, unless the name is known or is an address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from relay.errors import MisdirectedRequest
from relay.settings.kinds import is_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    import falcon

#: Probes reach a process by its address, and learn nothing secret.
_PROBES: Final = frozenset({"/healthz", "/readyz"})


class Hosts:
    """Refuses requests to names other than ``public``, if it has any, and knows the origins of the API's pages."""

    def __init__(self, public: Iterable[str], api_url: str) -> None:
        names = frozenset(public)
        self._refuses = bool(names)
        self._known = names | {urlsplit(api_url).hostname or ""}

    def check(self, req: falcon.Request) -> None:
        """Raise ``MisdirectedRequest`` if the request is to another name."""
        if self._refuses and req.path not in _PROBES and _name_of(f"//{req.netloc}") not in self._known:
            raise MisdirectedRequest

    def is_own(self, req: falcon.Request, origin: str) -> bool:
        """Return whether the origin is that of this relay's pages: the request's host, by a known name or an address.

        Compares hosts only: behind a proxy that ends TLS, the scheme seen here is not the browser's.
        """
        scheme, _, host = origin.partition("://")
        if scheme not in {"http", "https"} or host.lower() != req.netloc.lower():
            return False
        name = _name_of(f"//{host}")
        return name in self._known or name == "localhost" or is_address(name)


def _name_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").removesuffix(".")
    except ValueError:
        return ""
