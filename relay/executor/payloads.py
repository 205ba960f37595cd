"""Opens the triggers of calls, each with the key ring that sealed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.request.trigger import Trigger
from relay.vault import payload_owner

if TYPE_CHECKING:
    from relay.store.ledger.transitions import CallRecord
    from relay.vault import Vault


class Payloads:
    """Opens the triggers of the calls that a worker carries out.

    A caller's trigger is sealed with the data keys, which the API has too. A trigger that a chain makes for a step may
    contain secrets from an endpoint's answer, so it is sealed with the target keys, which the API does not have.
    """

    def __init__(self, data_vault: Vault, target_vault: Vault) -> None:
        self._data_vault = data_vault
        self._target_vault = target_vault

    def open(self, record: CallRecord, stamp: str) -> Trigger:
        """Open the trigger of a call for the revision with this stamp; raise ``VaultError`` if it does not open."""
        vault = self._data_vault if record.parent is None else self._target_vault
        owner = payload_owner(record.plugin, record.reference_id, record.purpose, stamp)
        return Trigger.from_json(vault.open(record.payload, owner))
