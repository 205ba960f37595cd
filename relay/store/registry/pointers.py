"""Authenticates which revision of a webhook is current, with a MAC that write access to the server cannot forge.

The MAC covers the revision's number and its shape, which the server holds in the clear. So somebody who can write to
the server can neither revive a removed webhook, nor make an old revision current, nor loosen a shape. Only an old
number that is written back together with its own MAC is accepted.
"""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING, Final

from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from relay.vault import Vault

_PURPOSE: Final = b"current revision"


def pointer_mac(vault: Vault, plugin: str, webhook_id: str, number: int, shape: bytes) -> str:
    """Return the MAC of a current revision, made with the newest key of the ring."""
    return _macs(vault, plugin, webhook_id, number, shape)[0]


def is_authentic(vault: Vault, plugin: str, webhook_id: str, number: int, shape: bytes, mac: bytes | None) -> bool:
    """Return whether a relay made this revision the current one; log it if not."""
    if is_made_by_relay(vault, plugin, webhook_id, number, shape, mac):
        return True
    event(Event.REVISION_UNVERIFIED, level=logging.ERROR, plugin=plugin, webhook=webhook_id)
    return False


def is_made_by_relay(vault: Vault, plugin: str, webhook_id: str, number: int, shape: bytes, mac: bytes | None) -> bool:
    """Return whether the MAC was made for this current revision with a key of this ring."""
    expected = _macs(vault, plugin, webhook_id, number, shape)
    return any(hmac.compare_digest(mac or b"", each.encode()) for each in expected)


def _macs(vault: Vault, plugin: str, webhook_id: str, number: int, shape: bytes) -> tuple[str, ...]:
    return vault.macs(_PURPOSE, plugin.encode(), webhook_id.encode(), str(number).encode(), shape)
