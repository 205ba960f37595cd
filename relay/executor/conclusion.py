"""From what came back to what is written down: classify, mask, seal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay import telemetry
from relay.invocation import MEANINGS, Attempt, Outcome, Sent, State
from relay.results import Reading, failure_result, read_answer, sealed_data
from relay.store.transitions import Settlement
from relay.vault import result_owner

if TYPE_CHECKING:
    from relay.executor.preparation import Prepared, Unsendable
    from relay.outbound.answer import Answer
    from relay.vault import Vault


def conclude(prepared: Prepared, token: str, answer: Answer, started_at_ms: int, vault: Vault) -> Settlement:
    """The settlement of a call that was tried. What of an answer is kept is masked, then sealed."""
    published = prepared.published
    reading = _read(answer, prepared)
    status = reading.result.status
    attempt = Attempt(0, started_at_ms, answer.duration_ms, status, reading.outcome, answer.sent)
    result = b""
    if reading.outcome is Outcome.ANSWERED:
        result = vault.seal(sealed_data(reading.result), result_owner(published.plugin, published.reference_id))
    return Settlement(
        reference_id=published.reference_id,
        token=token,
        state=MEANINGS[reading.outcome].state,
        outcome=reading.outcome,
        status=status,
        error=reading.result.error,
        attempt=attempt,
        response_bytes=answer.response_bytes,
        masked=reading.masked,
        result=result,
    )


def unsendable(call: Unsendable, token: str, started_at_ms: int) -> Settlement:
    """The settlement of a call that could not be prepared. One that is rejected has no attempt and no result."""
    state = MEANINGS[call.outcome].state
    rejected = state is State.REJECTED
    return Settlement(
        reference_id=call.published.reference_id,
        token=token,
        state=state,
        outcome=call.outcome,
        status=None if rejected else 0,
        error=None if rejected else True,
        attempt=None if rejected else Attempt(0, started_at_ms, 0, 0, call.outcome, Sent.NO),
    )


def _read(answer: Answer, prepared: Prepared) -> Reading:
    try:
        return read_answer(answer, prepared.mask)
    except Exception as error:  # noqa: BLE001 - the request was answered; a fault of ours must not hide that
        telemetry.fault(error, "read_answer")
        return Reading(Outcome.ANSWER_REJECTED, failure_result(Outcome.ANSWER_REJECTED), 0)
