"""From what came back to what is written down: classify, mask, decide on another attempt, seal."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import gevent

from relay import telemetry
from relay.answer.masking import Mask
from relay.answer.results import Reading, failure_result, read_answer, sealed_data
from relay.errors import StoreFault, Unavailable
from relay.invocation import MEANINGS, Attempt, Outcome, Sent, State
from relay.loops import surely
from relay.registration.retrying import Retry, Tried, decide, read_retry_after
from relay.store.transitions import Settlement
from relay.vault import result_owner

if TYPE_CHECKING:
    from relay.answer.endpoint_answer import EndpointAnswer
    from relay.executor.access_tokens import AccessTokens
    from relay.executor.chain_turns import ChainTurns
    from relay.executor.preparation import Prepared, Unsendable
    from relay.registration import Shape
    from relay.store.transitions import CallRecord
    from relay.vault import Vault

#: Outcomes that say the endpoint is away. The others were answered, or never came as far as trying it.
_NO_CONTACT: Final = frozenset(
    {
        Outcome.DNS_FAILED,
        Outcome.CONNECT_FAILED,
        Outcome.CONNECT_TIMEOUT,
        Outcome.TLS_FAILED,
        Outcome.ANSWER_TIMEOUT,
        Outcome.CONNECTION_LOST,
    }
)
#: How many attempts more than registered an invocation may get because its token was refused.
MAX_NEW_TOKENS: Final = 2
#: Reads an answer as the endpoint sent it.
_NOTHING_HIDDEN: Final = Mask(())


class Conclusion:
    """Draws the conclusion of each attempt."""

    def __init__(self, data_vault: Vault, turns: ChainTurns, tokens: AccessTokens | None = None) -> None:
        self._vault = data_vault
        self._turns = turns
        self._tokens = tokens

    def conclude(self, call: Prepared, claim_token: str, answer: EndpointAnswer, started_at_ms: int) -> Settlement:
        """The settlement of a call that was tried. What of an answer is kept is masked, then sealed."""
        record = call.record
        reading = _read(answer, call)
        outcome, result = reading.outcome, reading.result
        attempt = Attempt(record.tries + 1, started_at_ms, answer.duration_ms, result.status, outcome, answer.sent)
        retry = self._with_a_new_token(call, attempt) or _retry(call, attempt, answer)
        sealed, raw = b"", b""
        if retry is None and outcome is Outcome.ANSWERED:
            if record.parent is not None:
                raw, reading = self._as_step(call, answer, reading)
            owner = result_owner(record.plugin, record.reference_id)
            sealed = self._vault.seal(sealed_data(reading.result), owner)
        return Settlement(
            reference_id=record.reference_id,
            claim_token=claim_token,
            state=MEANINGS[outcome].state if retry is None else State.RETRYING,
            outcome=outcome,
            status=result.status,
            error=result.error,
            attempt=attempt,
            response_bytes=answer.response_bytes,
            masked=reading.masked,
            result=sealed,
            raw=raw,
            delay_ms=0 if retry is None else retry.delay_ms,
            contacted=None if outcome is Outcome.ADDRESS_REFUSED else outcome not in _NO_CONTACT,
        )

    def _as_step(self, call: Prepared, answer: EndpointAnswer, reading: Reading) -> tuple[bytes, Reading]:
        """What the chain needs of its step's answer, sealed; and what may be kept of it in the step's own record.

        Of an answer that comes after the chain's end nothing is kept: what the chain would have hidden in it can no
        longer be known.
        """
        unmasked = read_answer(answer, _NOTHING_HIDDEN).result
        nothing_kept = reading._replace(result=reading.result._replace(data=None))
        try:
            secrets = surely(lambda: self._turns.secrets_beside(call.record, unmasked), "conclude", gevent.sleep)
        except Exception as error:  # noqa: BLE001 - what is to be hidden is not known; the answer was had all the same
            telemetry.fault(error, "secrets_beside")
            return self._turns.raw(call.record, unmasked), nothing_kept
        if secrets is None:
            return b"", nothing_kept
        if secrets:
            reading = read_answer(answer, call.mask.with_texts(secrets))
            if reading.outcome is not Outcome.ANSWERED:  # bytes that hold a secret
                reading = Reading(Outcome.ANSWERED, unmasked._replace(data=None), reading.masked)
        return self._turns.raw(call.record, unmasked), reading

    def _with_a_new_token(self, call: Prepared, attempt: Attempt) -> Retry | None:
        """Another attempt at once, if the endpoint refused a token that may simply have been revoked or expired."""
        access, refused = call.access, attempt.outcome is Outcome.ANSWERED and attempt.status == 401
        if not refused or access is None or access.fresh or self._tokens is None:
            return None
        with suppress(Unavailable, StoreFault):  # this process has forgotten it all the same
            self._tokens.drop(access)
        policy = call.shape.retry
        return Retry(0) if attempt.number < (policy.attempts if policy else 1) + MAX_NEW_TOKENS else None


def unsendable(call: Unsendable, claim_token: str, started_at_ms: int) -> Settlement:
    """The settlement of a call that could not be prepared. One that is rejected has no attempt and no result.

    What is found wrong in a call that was lost is `interrupted`: it may have been sent before.
    """
    if call.record.was_lost:
        return _lost(call.record, claim_token)
    retry = _retry_later(call)
    state = MEANINGS[call.outcome].state if retry is None else State.RETRYING
    rejected = state is State.REJECTED
    return Settlement(
        reference_id=call.record.reference_id,
        claim_token=claim_token,
        state=state,
        outcome=call.outcome,
        status=None if rejected else 0,
        error=None if rejected else True,
        attempt=None if rejected else Attempt(0, started_at_ms, 0, 0, call.outcome, Sent.NO),
        delay_ms=0 if retry is None else retry.delay_ms,
    )


def salvaged(
    call: Prepared, claim_token: str, answer: EndpointAnswer | None, *, entered: bool, at_ms: int
) -> Settlement:
    """The settlement of a call whose sending or conclusion has failed: what is known, and none of the answer's data."""
    if answer is None:
        outcome, sent = (Outcome.CONNECTION_LOST, Sent.MAYBE) if entered else (Outcome.PREPARE_FAILED, Sent.NO)
    else:
        outcome = Outcome.ANSWER_REJECTED if answer.outcome is Outcome.ANSWERED else answer.outcome
        sent = answer.sent
    duration_ms = 0 if answer is None else answer.duration_ms
    return Settlement(
        reference_id=call.record.reference_id,
        claim_token=claim_token,
        state=MEANINGS[outcome].state,
        outcome=outcome,
        status=0,
        error=True,
        attempt=Attempt(call.record.tries + 1, at_ms, duration_ms, 0, outcome, sent),
    )


def _lost(record: CallRecord, claim_token: str) -> Settlement:
    return Settlement(
        reference_id=record.reference_id,
        claim_token=claim_token,
        state=State.INTERRUPTED,
        outcome=Outcome.LEASE_LOST,
        status=0,
        error=True,
        attempt=None,
    )


def _retry_later(call: Unsendable) -> Retry | None:
    if call.shape is None:
        return None
    tried = Tried(call.record.tries + 1, call.outcome, Sent.NO, 0, call.shape.repeatable)
    decision = decide(call.shape.retry, tried, random.random())  # noqa: S311 - spreads load, no secret
    return decision if isinstance(decision, Retry) else None


def _read(answer: EndpointAnswer, call: Prepared) -> Reading:
    try:
        reading = read_answer(answer, call.mask)
        return reading if _fits(reading, answer, call.shape) else _misfit(reading)
    except Exception as error:  # noqa: BLE001 - the request was answered; a fault of ours must not hide that
        telemetry.fault(error, "read_answer")
        return Reading(Outcome.ANSWER_REJECTED, failure_result(Outcome.ANSWER_REJECTED), 0)


def _fits(reading: Reading, answer: EndpointAnswer, shape: Shape) -> bool:
    """Whether data that a caller gets has the registered form. What was masked in it has not changed that."""
    if shape.response_schema is None or reading.outcome is not Outcome.ANSWERED or reading.result.error:
        return True
    return shape.takes_answer(read_answer(answer, _NOTHING_HIDDEN).result.data)


def _misfit(reading: Reading) -> Reading:
    outcome = Outcome.RESPONSE_REJECTED
    return Reading(outcome, failure_result(outcome, status=reading.result.status), reading.masked)


def _retry(call: Prepared, attempt: Attempt, answer: EndpointAnswer) -> Retry | None:
    if call.shape.retry is None:
        return None
    tried = Tried(
        attempt.number,
        attempt.outcome,
        attempt.sent,
        attempt.status,
        call.shape.repeatable,
        read_retry_after(answer.retry_after, answer.started_at_ms / 1000),
    )
    decision = decide(call.shape.retry, tried, random.random())  # noqa: S311 - spreads load, no secret
    return decision if isinstance(decision, Retry) else None
