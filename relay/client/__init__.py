"""The Python client of the relay's API."""

from relay.client.async_relay import AsyncRelay
from relay.client.relay import Relay

__all__ = ["AsyncRelay", "Relay"]
