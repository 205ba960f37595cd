"""Loopback ports for the servers and endpoints that one process starts."""

from __future__ import annotations

from typing import Final

from relay.up.ports import FreePorts

_OF_THIS_PROCESS: Final = FreePorts()


def free_port() -> int:
    """Return a loopback port that nothing listens on and that this process was not given before.

    The server that listens on it has to set `SO_REUSEADDR`: the port is held.
    """
    return _OF_THIS_PROCESS.choose()
