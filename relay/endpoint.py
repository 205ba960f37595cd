"""The registered URL: one ASCII grammar, parsed once, its parts stored (security.md, "Registered URL")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from relay.outbound.guard import AddressPolicy

DEFAULT_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a webhook goes. ``host`` is lower-case (an IPv6 literal in brackets), ``query`` raw and without ``?``."""

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""

    @property
    def authority(self) -> str:
        """``host[:port]`` as it is sent in ``Host``: a default port is left out."""
        return self.host if self.port == DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole URL, escapes exactly as registered."""
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.authority}{self.path}{query}"

    @property
    def fixed_query(self) -> tuple[tuple[str, str], ...]:
        """Names and values that are fixed in the URL, percent-decoded."""
        if not self.query:
            return ()
        pairs = (part.partition("=") for part in self.query.split("&"))
        return tuple((unquote(name), unquote(value)) for name, _, value in pairs)


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """What the operator's settings make of the grammar."""

    policy: AddressPolicy
    extra_suffixes: frozenset[str] = frozenset()


def parse_endpoint(url: str, rules: EndpointRules) -> Endpoint:
    """Parse a registered URL; ``ValueError`` with a sentence that does not quote it."""
    raise NotImplementedError
