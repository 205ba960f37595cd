"""The egress guard: judges whether one exact address may be dialled (security.md, "Egress guard"). Pure.

The tables are the relay's own: ``ipaddress.is_global`` is wrong for several of these networks and differs between
Python versions. The order of judgement: an ``allow`` entry wins over all, then ``deny``, the port, and the tables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from relay.errors import SettingsError
from relay.text.hosts import MAX_PORT, is_host_name, read_port

if TYPE_CHECKING:
    from collections.abc import Iterable

HTTPS_PORT: Final = 443
_JUDGEMENTS_KEPT: Final = 8_192

_REFUSED_V4: Final = (
    IPv4Network("0.0.0.0/8"),  # this network
    IPv4Network("10.0.0.0/8"),  # private
    IPv4Network("100.64.0.0/10"),  # carrier NAT
    IPv4Network("127.0.0.0/8"),  # loopback
    IPv4Network("169.254.0.0/16"),  # link local, cloud metadata
    IPv4Network("172.16.0.0/12"),  # private
    IPv4Network("192.0.0.0/24"),  # IETF protocol assignments
    IPv4Network("192.0.2.0/24"),  # documentation
    IPv4Network("192.31.196.0/24"),  # AS112
    IPv4Network("192.52.193.0/24"),  # AMT
    IPv4Network("192.88.99.0/24"),  # 6to4 relay
    IPv4Network("192.168.0.0/16"),  # private
    IPv4Network("192.175.48.0/24"),  # AS112
    IPv4Network("198.18.0.0/15"),  # benchmarks
    IPv4Network("198.51.100.0/24"),  # documentation
    IPv4Network("203.0.113.0/24"),  # documentation
    IPv4Network("224.0.0.0/4"),  # multicast
    IPv4Network("240.0.0.0/4"),  # reserved, broadcast
    IPv4Network("168.63.129.16/32"),  # Azure WireServer
)
_PUBLIC_V6: Final = IPv6Network("2000::/3")
_REFUSED_V6: Final = (
    IPv6Network("2001::/23"),  # IETF protocol assignments
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("2620:4f:8000::/48"),  # AS112
    IPv6Network("3ffe::/16"),  # 6bone
    IPv6Network("3fff::/20"),  # documentation
)

_ENTRY: Final = re.compile(r"\[(?P<v6>[^\[\]]*)\](?::(?P<v6port>[^:]*))?\Z|(?P<rest>[^:\[\]]*)(?::(?P<port>[^:]*))?\Z")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One ``cidr-or-host[:port]``: either ``network`` or ``host`` is set; without a port it covers every port."""

    network: IPv4Network | IPv6Network | None
    host: str | None
    port: int | None

    def covers(self, address: IPv4Address | IPv6Address | None, port: int, host: str | None) -> bool:
        """Return whether this entry covers the address, or the host by its name, at that port."""
        if self.port is not None and self.port != port:
            return False
        if self.network is None:
            return host == self.host
        return address is not None and address.version == self.network.version and address in self.network


class AddressPolicy:
    """Judges addresses. It is immutable, and remembers its answers because every connect asks.

    ``allow`` and ``deny`` hold ``cidr-or-host[:port]`` (IPv6 with a port in brackets: ``[fd00::/8]:8443``), ``ports``
    the ports that are open besides 443. Raises ``SettingsError`` for anything malformed.
    """

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = (), ports: Iterable[int] = ()) -> None:
        self._allow = _entries(allow, "allow")
        self._deny = _entries(deny, "deny")
        self.ports = frozenset((HTTPS_PORT, *ports))
        if any(type(port) is not int or not 0 < port <= MAX_PORT for port in self.ports):
            raise SettingsError(f"An egress port is not a number from 1 to {MAX_PORT}.")
        self._judged = lru_cache(maxsize=_JUDGEMENTS_KEPT)(self._judge)

    def allows(self, address: str, port: int, host: str | None = None) -> bool:
        """Return whether this exact resolved address may be dialled at ``port`` for a registered ``host``."""
        return self._judged(address, port, host)

    def exempts(self, host: str, port: int) -> bool:
        """Return whether an ``allow`` entry covers a registered host (a name or an address literal) at ``port``."""
        bare = host.removeprefix("[").removesuffix("]").lower()
        address = _address(bare)
        return any(entry.covers(address, port, bare) for entry in self._allow)

    def denies(self, host: str, port: int) -> bool:
        """Return whether a ``deny`` entry covers a registered host at ``port``, and no ``allow`` entry does."""
        bare = host.removeprefix("[").removesuffix("]").lower()
        address = _address(bare)
        return not self.exempts(host, port) and any(entry.covers(address, port, bare) for entry in self._deny)

    def _judge(self, address_text: str, port: int, host: str | None) -> bool:
        address = _address(address_text)
        if address is None:
            return False
        name = None if host is None else host.removeprefix("[").removesuffix("]").lower()
        if any(entry.covers(address, port, name) for entry in self._allow):
            return True
        if any(entry.covers(address, port, name) for entry in self._deny):
            return False
        return port in self.ports and _is_public(address)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    return address in _PUBLIC_V6 and not any(address in network for network in _REFUSED_V6)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address, an IPv4-mapped one as its IPv4; None if it has a scope id, or is not an address."""
    if "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _entries(texts: Iterable[str], what: str) -> tuple[_Entry, ...]:
    parsed = []
    for number, text in enumerate(texts, 1):
        entry = _entry(text.strip().lower())
        if entry is None:
            raise SettingsError(f"RELAY_EGRESS_{what.upper()}: entry {number} is not `cidr-or-host[:port]`.")
        parsed.append(entry)
    return tuple(parsed)


def _entry(text: str) -> _Entry | None:
    """Read an entry; None if it is malformed."""
    network = _network(text)  # also a bare IPv6, whose colons are not a port's
    if network is not None:
        return _Entry(network, None, None)
    match = _ENTRY.match(text)
    if match is None:
        return None
    digits = match["v6port"] if match["v6"] is not None else match["port"]
    port = None if digits is None else read_port(digits)
    if digits is not None and port is None:
        return None
    if match["v6"] is not None:
        network = _network(match["v6"])
        return _Entry(network, None, port) if network is not None and ":" in match["v6"] else None
    network = _network(match["rest"])
    if network is not None:
        return _Entry(network, None, port)
    return _Entry(None, match["rest"], port) if is_host_name(match["rest"]) else None


def _network(text: str) -> IPv4Network | IPv6Network | None:
    if "%" in text:
        return None
    try:
        network = ip_network(text)
    except ValueError:
        return None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network
