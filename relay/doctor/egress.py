"""Checks whether calls go through an egress proxy, and whether that proxy can be reached."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from relay.doctor.finding import Finding, Level

if TYPE_CHECKING:
    from relay.settings import Settings

_CHECK: Final = "way out"
_CONNECT_S: Final = 2.0


def examine_egress(settings: Settings) -> Finding:
    """Return how calls reach endpoints, without the user and password of a proxy."""
    if settings.egress_proxy is None:
        return Finding(_CHECK, Level.OK, "no proxy: workers connect to endpoints themselves")
    parts = urlsplit(settings.egress_proxy.reveal())
    host, port = parts.hostname or "", parts.port or 0
    proxy = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_S):
            return Finding(_CHECK, Level.OK, f"every call goes through the proxy {proxy} (RELAY_EGRESS_PROXY)")
    except OSError:
        found = f"every call goes through the proxy {proxy}, which cannot be reached from here"
        advice = "If workers cannot reach it, all calls end as unreachable: start it, or correct RELAY_EGRESS_PROXY."
        return Finding(_CHECK, Level.NOTE, found, advice)
