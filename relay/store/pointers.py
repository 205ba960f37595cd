"""Which revision of a webhook is current, said with a MAC that a writer of the server cannot make.

It covers the revision's number and its shape, which lies in the server in the clear: a removed webhook is not revived,
an old revision not made current and a shape not loosened by whoever can write there. An old number and its MAC, both
written back, are believed.
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
    """Return the MAC of a current revision, under the newest key of the ring."""
    return _macs(vault, plugin, webhook_id, number, shape)[0]


def is_authentic(vault: Vault, plugin: str, webhook_id: str, number: int, shape: bytes, mac: bytes | None) -> bool:
    """Return whether a relay made this revision the current one; one that none made is logged and counts as none."""
    if is_made_by_relay(vault, plugin, webhook_id, number, shape, mac):
        return True
    event(Event.REVISION_UNVERIFIED, level=logging.ERROR, plugin=plugin, webhook=webhook_id)
    return False


def is_made_by_relay(vault: Vault, plugin: str, webhook_id: str, number: int, shape: bytes, mac: bytes | None) -> bool:
    """Return whether the MAC is one that a relay with this ring makes for a current revision."""
    expected = _macs(vault, plugin, webhook_id, number, shape)
    return any(hmac.compare_digest(mac or b"", each.encode()) for each in expected)


def _macs(vault: Vault, plugin: str, webhook_id: str, number: int, shape: bytes) -> tuple[str, ...]:
    return vault.macs(_PURPOSE, plugin.encode(), webhook_id.encode(), str(number).encode(), shape)
