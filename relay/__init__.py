"""The webhook relay: plugins call third-party endpoints without seeing URL or credentials.

``from relay import Relay`` is the Python client; it is loaded when it is asked for, so that no process of the relay
itself pays for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.client import Relay

__all__ = ["Relay"]


def __getattr__(name: str) -> object:
    """Load the client on first use (PEP 562)."""
    if name != "Relay":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from relay.client import Relay  # noqa: PLC0415 - the point of this function

    return Relay
