"""Checks the ways in and out: whether there is a proxy before the API, and whether the one for calls can be reached."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from relay.doctor.finding import Finding, Level
from relay.settings.urls import is_elsewhere

if TYPE_CHECKING:
    from relay.settings import Settings

_CHECK: Final = "way out"
_CONNECT_S: Final = 2.0
_CHECK_IN: Final = "way in"


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


def examine_ingress(settings: Settings) -> Finding:
    """Return whether a proxy keeps slow clients away from an API that other machines reach."""
    host = urlsplit(settings.api_url).hostname or ""
    if settings.behind_proxy:
        return Finding(_CHECK_IN, Level.OK, "a proxy stands before the API (RELAY_BEHIND_PROXY)")
    if not is_elsewhere(host):
        return Finding(_CHECK_IN, Level.OK, "only this machine reaches the API (RELAY_API_URL)")
    found = f"the API is reached at {host} (RELAY_API_URL), and no proxy stands before it"
    advice = "Slow clients can hold its threads: put a proxy of deploy/proxy before it, set RELAY_BEHIND_PROXY=true."
    return Finding(_CHECK_IN, Level.NOTE, found, advice)
