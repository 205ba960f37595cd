"""Sends all calls through an HTTP proxy, using only CONNECT, for networks that let nothing else out.

This process resolves the names of endpoints, judges their addresses, and asks the proxy to connect to one of these: an
address that the proxy finds for a name could not be judged. Inside the tunnel this process speaks TLS with the endpoint
itself, and verifies its certificate for the registered name. The proxy sees addresses, sizes and the name in the
handshake.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import gevent
import pycurl
from gevent import socket as hub_socket

from relay.domain.invocation import Outcome
from relay.process.clock import boot_time_s
from relay.registration.endpoint import DEFAULT_PORTS

if TYPE_CHECKING:
    from relay.egress import AddressPolicy

#: For how many seconds the addresses of a name are used; after that, it is looked up again.
ADDRESS_AGE_S: Final = 60
#: How many of an endpoint's addresses a call may ask the proxy to connect to, one after the other.
MAX_ADDRESSES: Final = 3
_MAX_KNOWN: Final = 4_096
_SUPPRESS_CONNECT_HEADERS: Final = 265  # CURLOPT_SUPPRESS_CONNECT_HEADERS, which pycurl does not name


class EgressProxy:
    """One proxy, ``http[s]://[user:password@]host:port``, and the addresses that calls ask it to connect to."""

    def __init__(self, url: str, policy: AddressPolicy, ca_path: str) -> None:
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self._url = f"{parts.scheme}://{host}:{parts.port}"
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._policy = policy
        self._ca_path = ca_path
        self._known: dict[tuple[str, int], tuple[float, tuple[str, ...]]] = {}

    def options(self) -> list[tuple[int, Any]]:
        """Return the libcurl options that send every request through the proxy's tunnel."""
        options: list[tuple[int, Any]] = [
            (pycurl.PROXY, self._url),
            (pycurl.NOPROXY, ""),
            (pycurl.HTTPPROXYTUNNEL, 1),
            (pycurl.PROXYAUTH, pycurl.HTTPAUTH_BASIC),
            (pycurl.PROXYHEADER, ["User-Agent:"]),
            (pycurl.HEADEROPT, pycurl.HEADER_SEPARATE),
            (pycurl.PROXY_CAINFO, self._ca_path),
            (pycurl.PROXY_SSL_VERIFYPEER, 1),
            (pycurl.PROXY_SSL_VERIFYHOST, 2),
            (pycurl.PROXY_SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
            (_SUPPRESS_CONNECT_HEADERS, 1),
        ]
        if self._user or self._password:
            options += [(pycurl.PROXYUSERNAME, self._user), (pycurl.PROXYPASSWORD, self._password)]
        return options

    def addresses(self, url: str, deadline_s: float) -> tuple[str, ...] | Outcome:
        """Return the addresses of a URL's host that may be called, or an outcome if there are none.

        Remembered addresses are judged again for every call.
        """
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
        found = self._resolved(host, port, deadline_s)
        if isinstance(found, Outcome):
            return found
        allowed = tuple(address for address in found if self._policy.allows(address, port, host))
        return allowed[:MAX_ADDRESSES] or Outcome.ADDRESS_REFUSED

    def _resolved(self, host: str, port: int, deadline_s: float) -> tuple[str, ...] | Outcome:
        now_s, place = boot_time_s(), (host, port)
        known_until_s, addresses = self._known.get(place, (0.0, ()))
        if now_s < known_until_s:
            return addresses
        found = _look_up(host, port, deadline_s - now_s)
        if isinstance(found, Outcome):
            return found
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[place] = (now_s + ADDRESS_AGE_S, found)
        return found

    def __repr__(self) -> str:
        return f"EgressProxy({self._url})"


def connect_to(address: str, url: str) -> str:
    """Return the CURLOPT_CONNECT_TO that sends a URL's call to an address; TLS still uses the URL's own name."""
    parts = urlsplit(url)
    bracketed = f"[{address}]" if ":" in address else address
    return f"::{bracketed}:{parts.port or DEFAULT_PORTS[parts.scheme]}"


def _look_up(host: str, port: int, within_s: float) -> tuple[str, ...] | Outcome:
    """Ask the system's resolver for a name's addresses, in a thread of the hub's pool."""
    rows: list[Any] | None = None
    try:
        with gevent.Timeout(max(0.0, within_s), exception=False):
            rows = hub_socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return Outcome.DNS_FAILED
    return Outcome.CONNECT_TIMEOUT if rows is None else tuple(dict.fromkeys(_text(row[4]) for row in rows))


def _text(address: Any) -> str:
    """Return an address as text, with its scope if it has one: the guard refuses addresses with a scope."""
    scope = address[3] if len(address) > 3 else 0
    return f"{address[0]}%{scope}" if scope and "%" not in address[0] else str(address[0])
