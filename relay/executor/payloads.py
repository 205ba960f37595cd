"""Opens the triggers of calls, each with the ring that it was sealed under."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.request.trigger import Trigger
from relay.vault import payload_owner

if TYPE_CHECKING:
    from relay.store.transitions import CallRecord
    from relay.vault import Vault


class Payloads:
    """The triggers that a worker carries out.

    What callers send is sealed with the data keys, which the API has too. What a chain hands to its steps may hold
    secrets from an endpoint's answer, and is sealed with the target keys, which the API has not.
    """

    def __init__(self, data_vault: Vault, target_vault: Vault) -> None:
        self._data_vault = data_vault
        self._target_vault = target_vault

    def open(self, record: CallRecord) -> Trigger:
        """Open the trigger of a call; ``VaultError`` if it does not open."""
        vault = self._data_vault if record.parent is None else self._target_vault
        return Trigger.from_json(
            vault.open(record.payload, payload_owner(record.plugin, record.reference_id, record.purpose))
        )
