"""Makes a caller's answer from the notice or the record of an invocation that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.answer.results import answer_json, failure_result, json_data
from relay.domain.invocation import MEANINGS, WITH_RESULT, Invocation, Outcome, State, is_error
from relay.errors import Cancelled, Internal, RequestRejected, WebhookNotRegistered
from relay.vault import result_owner

if TYPE_CHECKING:
    from relay.errors import RelayError
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.ledger.notices import Notice
    from relay.vault import Vault


class Results:
    """Opens results with the data keys' vault."""

    def __init__(self, store: InvocationStore, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    def answer(self, plugin: str, end: Notice | Invocation) -> bytes:
        """Return the documented answer about a final invocation as JSON text, with its data as they were stored.

        Raises:
            RequestRejected, WebhookNotRegistered, Cancelled: the invocation ended without a result.
            VaultError: none of the keys at hand opens the result.
            Internal: the record is damaged, and does not tell how the invocation ended.
        """
        if end.state is None or (isinstance(end, Invocation) and end.damaged):
            raise Internal("The invocation's record is damaged.", reference_id=end.reference_id)
        if end.state not in WITH_RESULT:
            raise without_result(end)
        error = is_error(end.state, end.error)
        return answer_json(end.reference_id, end.status or 0, self.data(plugin, end), error=error)

    def data(self, plugin: str, end: Notice | Invocation) -> bytes:
        """Return the data of the result, as JSON text. Raises `VaultError`: none of the keys at hand opens it."""
        sealed = self._sealed(end)
        if sealed:
            return self._vault.open(sealed, result_owner(plugin, end.reference_id))
        if end.outcome is not None and MEANINGS[end.outcome].code is not None:
            return json_data(failure_result(end.outcome, end.sent))
        return b"null"

    def _sealed(self, end: Notice | Invocation) -> bytes | None:
        if isinstance(end, Invocation) or end.in_store:
            return self._store.result_of(end.reference_id)
        return end.sealed


def without_result(end: Notice | Invocation) -> RelayError:
    """Return the error that says why an invocation ended ``rejected`` or ``cancelled``, as the door raises it."""
    if end.state is State.CANCELLED:
        return Cancelled(reference_id=end.reference_id)
    if end.outcome is Outcome.WEBHOOK_NOT_REGISTERED:
        return WebhookNotRegistered(reference_id=end.reference_id)
    return RequestRejected(reference_id=end.reference_id)
