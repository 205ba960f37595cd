"""The webhook relay: plugins call third-party endpoints without seeing URL or credentials.

``from relay import Relay`` is the Python client, ``AsyncRelay`` the same client for asyncio; they are loaded on first
use, so that the relay's own processes do not load them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.client import AsyncRelay, Relay

__all__ = ["AsyncRelay", "Relay"]


def __getattr__(name: str) -> object:
    """Load the client on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from relay import client  # noqa: PLC0415 - the point of this function

    return getattr(client, name)
