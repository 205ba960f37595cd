"""Finds the source address of a request, and limits the failed authentications from each address.

The source is the peer's address. If the peer is a proxy that a setting trusts, it is the last entry of
`X-Forwarded-For` that is not such a proxy: the entries before that one were written by the caller.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from typing import TYPE_CHECKING, Final

from relay.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relay.settings.kinds import Network

#: Failures and refusals are counted by the minute, and this many addresses are told apart in it.
PERIOD_S: Final = 60
MAX_SOURCE_ADDRESSES: Final = 10_000
_IPV6_PREFIX: Final = 64  # the size of one household's network
_UNKNOWN: Final = "unknown"


class SourceAddresses:
    """Finds the source addresses of requests, behind trusted proxies."""

    def __init__(self, trusted: Iterable[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def of(self, environ: Mapping[str, str]) -> str:
        """Return the source address of a request, given its WSGI environment; for IPv6, its network."""
        found = _address(environ.get("REMOTE_ADDR", ""))
        if self._trusted and self._is_trusted(found):
            for entry in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
                found = _address(entry.strip())
                if not self._is_trusted(found):
                    break
        if isinstance(found, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((found, _IPV6_PREFIX), strict=False))
        return _UNKNOWN if found is None else str(found)

    def _is_trusted(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


class FailedAuthentications:
    """Counts failures by source address; more than a number per minute are answered with 429."""

    def __init__(self, addresses: SourceAddresses, per_minute: int) -> None:
        self._addresses = addresses
        self._per_minute = per_minute
        self._lock = threading.Lock()
        self._minute = 0
        self._counts: dict[str, int] = {}

    def add(self, environ: Mapping[str, str]) -> None:
        """Count a failure. Raises ``RateLimited`` if its address had already reached the limit in this minute."""
        now_s = time.time()
        with self._lock:
            address = self._place(environ, now_s)
            self._counts[address] = count = self._counts.get(address, 0) + 1
        self._limit(count - 1, now_s)

    def check(self, environ: Mapping[str, str]) -> None:
        """Raise ``RateLimited`` if the address has reached the limit, so that not even a correct secret is accepted.

        For secrets that people choose, which can be guessed.
        """
        now_s = time.time()
        with self._lock:
            count = self._counts.get(self._place(environ, now_s), 0)
        self._limit(count, now_s)

    def _place(self, environ: Mapping[str, str], now_s: float) -> str:
        """Return the address under which a request is counted; delete the counts of earlier minutes."""
        if int(now_s // PERIOD_S) != self._minute:
            self._minute = int(now_s // PERIOD_S)
            self._counts.clear()
        address = self._addresses.of(environ)
        full = address not in self._counts and len(self._counts) >= MAX_SOURCE_ADDRESSES
        return _UNKNOWN if full else address  # beyond this many addresses, all others share one count

    def _limit(self, count: int, now_s: float) -> None:
        if count >= self._per_minute:
            left_s = PERIOD_S - int(now_s % PERIOD_S)
            raise RateLimited("Too many failed authentications came from this address.", retry_after_s=left_s)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address, an IPv4-mapped IPv6 one as its IPv4; None if the text is not an address."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found
