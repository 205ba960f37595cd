"""Raises the limit of files and connections that this process may have open."""

from __future__ import annotations

import resource
from typing import Final

from relay.errors import SettingsError

#: What a worker opens besides its calls' connections: those to the server and broker, kept-alive ones, and files.
BESIDE_CALLS: Final = 512
#: What an API process opens besides the connections of callers: those to the store, the log, and files.
BESIDE_CONNECTIONS: Final = 1_024


def allow_calls(in_flight: int) -> None:
    """Raise the limit of open files, if ``in_flight`` calls need that.

    Raises:
        SettingsError: the system does not allow the process that many open files.
    """
    needed = in_flight + BESIDE_CALLS
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY or allowed >= needed:
        return
    if most != resource.RLIM_INFINITY and most < needed:
        raise SettingsError(
            f"RELAY_MAX_IN_FLIGHT is {in_flight}, which needs {needed} open files, and this process may have {most}:"
            f" raise its limit (`ulimit -Hn`, LimitNOFILE, ulimits), or set RELAY_MAX_IN_FLIGHT to"
            f" {max(most - BESIDE_CALLS, 1)} at most."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


def allow_descriptors(connections: int) -> None:
    """Allow as many open descriptors as this number of callers' connections needs, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + BESIDE_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
