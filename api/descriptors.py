"""Raises the limit of open descriptors, for the connections of an API process."""

from __future__ import annotations

import resource

from relay.process.descriptors import BESIDE_CONNECTIONS


def allow_descriptors(connections: int) -> None:
    """Allow as many open descriptors as this number of callers' connections needs, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + BESIDE_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
