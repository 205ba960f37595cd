"""The Python client of the relay's API."""

from relay.client.relay import Relay

__all__ = ["Relay"]
