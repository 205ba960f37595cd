"""Makes the settlement of an attempt: classifies and masks its answer, decides on another attempt, seals the result."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from relay.answer.results import json_data
from relay.domain.invocation import MEANINGS, Attempt, Outcome, Sent, State
from relay.errors import StoreFault, Unavailable
from relay.executor.large_work import run_in_thread_if_large
from relay.executor.reading import AnswerReader
from relay.registration.retrying import read_retry_after, retry_delay_ms
from relay.store.ledger.transitions import Settlement
from relay.vault import result_owner

if TYPE_CHECKING:
    from relay.answer.endpoint_answer import EndpointAnswer
    from relay.answer.results import Result
    from relay.executor.access_tokens import AccessTokens
    from relay.executor.chain_evaluation import ChainEvaluator
    from relay.executor.preparation import Prepared, Unsendable
    from relay.store.ledger.transitions import CallRecord
    from relay.vault import Vault

#: Outcomes after which an endpoint counts as away; after any other, if it was tried, it counts as contacted.
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
#: Outcomes of attempts that did not try the endpoint, and so say nothing about it.
_NOT_TRIED: Final = frozenset({Outcome.ADDRESS_REFUSED, Outcome.PREPARE_FAILED})
#: How many attempts beyond the registered ones an invocation may get because its token was refused.
MAX_NEW_TOKENS: Final = 2


class Conclusion:
    """Makes the settlement of each attempt."""

    def __init__(self, data_vault: Vault, evaluator: ChainEvaluator, tokens: AccessTokens) -> None:
        self._vault = data_vault
        self._reader = AnswerReader(evaluator)
        self._tokens = tokens

    def conclude(self, call: Prepared, claim_token: str, answer: EndpointAnswer, started_at_ms: int) -> Settlement:
        """Make the settlement of a call that was attempted. The result of an answer is masked, then sealed."""
        record = call.record
        reading = self._reader.read(call, answer)
        outcome, result = reading.outcome, reading.result
        attempt = Attempt(record.tries + 1, started_at_ms, answer.duration_ms, result.status, outcome, answer.sent)
        delay_ms = 0 if self._gets_a_new_token(call, attempt) else _delay_ms(call, attempt, answer)
        ends = delay_ms is None and outcome is Outcome.ANSWERED
        sealed = b""
        if ends:
            owner = result_owner(record.plugin, record.reference_id)
            sealed = run_in_thread_if_large(answer.response_bytes, self._sealed, result, owner)
        return Settlement(
            reference_id=record.reference_id,
            claim_token=claim_token,
            state=MEANINGS[outcome].state if delay_ms is None else State.RETRYING,
            outcome=outcome,
            status=result.status,
            error=result.error,
            attempt=attempt,
            response_bytes=answer.response_bytes,
            masked=reading.masked,
            result=sealed,
            raw=reading.sealed_answer if ends else b"",
            delay_ms=delay_ms or 0,
            contacted=None if outcome in _NOT_TRIED else outcome not in _NO_CONTACT,
        )

    def _sealed(self, result: Result, owner: str) -> bytes:
        return self._vault.seal(json_data(result), owner)

    def _gets_a_new_token(self, call: Prepared, attempt: Attempt) -> bool:
        """Return whether to try again at once: the endpoint refused a token that may have been revoked or expired."""
        access, refused = call.access, attempt.outcome is Outcome.ANSWERED and attempt.status == 401
        if not refused or access is None or access.fresh:
            return False
        with suppress(Unavailable, StoreFault):  # this process has forgotten the token anyway
            self._tokens.drop(access)
        policy = call.shape.retry
        return attempt.number < (policy.attempts if policy else 1) + MAX_NEW_TOKENS


def unsendable(call: Unsendable, claim_token: str, started_at_ms: int) -> Settlement:
    """Make the settlement of a call that could not be prepared. A rejected call has no attempt and no result.

    A call whose lease was lost ends `interrupted` whatever else is wrong with it: it may have been sent before.
    """
    if call.record.was_lost:
        return _without_data(call.record, claim_token, Outcome.LEASE_LOST, None)
    delay_ms = None
    if call.shape is not None:
        tried = Attempt(call.record.tries + 1, started_at_ms, 0, 0, call.outcome, Sent.NO)
        delay_ms = retry_delay_ms(call.shape.retry, tried, _jitter(), repeatable=call.shape.repeatable)
    attempt = Attempt(0, started_at_ms, 0, 0, call.outcome, Sent.NO)
    settlement = _without_data(call.record, claim_token, call.outcome, attempt)
    if delay_ms is not None:
        return settlement._replace(state=State.RETRYING, delay_ms=delay_ms)
    if settlement.state is State.REJECTED:
        return settlement._replace(status=None, error=None, attempt=None)
    return settlement


def salvaged(
    call: Prepared, claim_token: str, answer: EndpointAnswer | None, *, entered: bool, at_ms: int
) -> Settlement:
    """Make the settlement of a call that a fault of the relay stopped: what is known, without the answer's data."""
    if answer is None:
        outcome, sent = (Outcome.CONNECTION_LOST, Sent.MAYBE) if entered else (Outcome.PREPARE_FAILED, Sent.NO)
    else:
        outcome = Outcome.ANSWER_REJECTED if answer.outcome is Outcome.ANSWERED else answer.outcome
        sent = answer.sent
    duration_ms = 0 if answer is None else answer.duration_ms
    attempt = Attempt(call.record.tries + 1, at_ms, duration_ms, 0, outcome, sent)
    return _without_data(call.record, claim_token, outcome, attempt)


def _without_data(record: CallRecord, claim_token: str, outcome: Outcome, attempt: Attempt | None) -> Settlement:
    return Settlement(
        record.reference_id, claim_token, MEANINGS[outcome].state, outcome, 0, error=True, attempt=attempt
    )


def _delay_ms(call: Prepared, attempt: Attempt, answer: EndpointAnswer) -> int | None:
    """Return after how many milliseconds the webhook's policy makes another attempt; None if it makes none."""
    policy, repeatable = call.shape.retry, call.shape.repeatable
    asked_s = read_retry_after(answer.retry_after, answer.started_at_ms / 1000) if policy else None
    return retry_delay_ms(policy, attempt, _jitter(), repeatable=repeatable, retry_after_s=asked_s)


def _jitter() -> float:
    return random.random()  # noqa: S311 - spreads load, no secret
