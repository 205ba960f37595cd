"""Reads an endpoint's answer: decodes it, checks it, and hides the secrets that it contains."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import gevent

from relay.answer.masking import Mask
from relay.answer.results import Result, failure_result, hide, read_body
from relay.chains import TooManySecrets
from relay.domain.invocation import Outcome, Sent
from relay.executor.large_work import making_bytes, run_in_thread_if_large
from relay.process.loops import repeat_until_done
from relay.telemetry import log

if TYPE_CHECKING:
    from relay.answer.endpoint_answer import EndpointAnswer
    from relay.answer.results import AnswerBody
    from relay.executor.chain_evaluation import ChainEvaluator
    from relay.executor.preparation import Prepared

#: How many masks are kept that also hide a chain's secrets; the steps of a chain share one for each webhook.
MAX_STEP_MASKS: Final = 256
#: Masking, which undoes encodings, may take this many times as long as reading the same bytes.
_HIDING: Final = 32


class Reading(NamedTuple):
    """An answer that was read: the outcome, the result as it may be kept, and how many secrets were masked in it."""

    outcome: Outcome
    result: Result
    masked: int = 0
    sealed_answer: bytes = b""  # of a chain's step: the answer with its secrets, for the chain; empty for other calls


class AnswerReader:
    """Reads answers. If reading fails, the outcome still says that the endpoint answered."""

    def __init__(self, evaluator: ChainEvaluator) -> None:
        self._evaluator = evaluator
        self._masks = lru_cache(MAX_STEP_MASKS)(_step_mask)
        self._token_masks = lru_cache(MAX_STEP_MASKS)(Mask(()).with_texts)

    def read(self, call: Prepared, answer: EndpointAnswer) -> Reading:
        """Read the answer of an attempt; for an attempt without one, return the result that its outcome implies."""
        if answer.outcome is not Outcome.ANSWERED:
            return _failed(answer.outcome, answer.sent)
        try:
            return self._read(call, answer)
        except Exception as error:  # noqa: BLE001 - the request was answered; a fault of the relay must not hide that
            log.fault(error, "read_answer")
            return _failed(Outcome.ANSWER_REJECTED)

    def _read(self, call: Prepared, answer: EndpointAnswer) -> Reading:
        size_bytes, shape = len(answer.body), call.shape
        body = run_in_thread_if_large(size_bytes, read_body, answer)
        result = Result(answer.status, body.data, answer.status >= 400)
        if not result.error and not run_in_thread_if_large(size_bytes, shape.takes_answer, body.data):
            return _failed(Outcome.RESPONSE_REJECTED, status=result.status)
        if call.record.parent is None:
            return _hidden(result, body, call.mask)
        return self._of_step(call, body, result)

    def _of_step(self, call: Prepared, body: AnswerBody, result: Result) -> Reading:
        """Read the answer of a chain's step: the result for the step's own record, and the sealed answer for its chain.

        No data is kept of an answer that comes after the chain's end, because it is no longer known what the chain
        would have hidden in it.
        """
        nothing_kept = Reading(Outcome.ANSWERED, result._replace(data=None))
        if call.access is not None:  # no chain needs the relay's own token, and could not hide it at its end
            without = _hidden(result, body, self._token_masks((call.access.token,)))
            if without.outcome is not Outcome.ANSWERED:
                return without
            result = without.result
        try:
            hidden = repeat_until_done(
                lambda: self._evaluator.hidden_beside(call.record, result, len(body.raw)), "conclude", gevent.sleep
            )
        except TooManySecrets:
            return _failed(Outcome.ANSWER_REJECTED)
        except Exception as error:  # noqa: BLE001 - the secrets are not known, but the endpoint has answered
            log.fault(error, "hidden_beside")
            return nothing_kept._replace(sealed_answer=self._sealed_answer(call, body, result))
        if hidden is None:
            own = _hidden(result, body, call.mask)
            return nothing_kept if own.outcome is Outcome.ANSWERED else own
        mask = run_in_thread_if_large(making_bytes(hidden.texts), self._masks, call.mask, hidden.mask, hidden.texts)
        reading = _hidden(result, body, mask)
        if reading.outcome is not Outcome.ANSWERED:
            own = _hidden(result, body, call.mask)
            if own.outcome is not Outcome.ANSWERED:
                return own
            reading = nothing_kept._replace(masked=reading.masked)  # bytes that contain a secret of the chain
        return reading._replace(sealed_answer=self._sealed_answer(call, body, result))

    def _sealed_answer(self, call: Prepared, body: AnswerBody, result: Result) -> bytes:
        return run_in_thread_if_large(len(body.raw), self._evaluator.sealed_answer, call.record, result)


def _step_mask(own: Mask, chain: Mask, texts: tuple[str, ...]) -> Mask:
    return Mask.of_all((own, chain)).with_texts(texts)


def _hidden(result: Result, body: AnswerBody, mask: Mask) -> Reading:
    """Hide what the mask finds in the result. Bytes cannot be masked: if they contain a secret, they are refused."""
    hidden = run_in_thread_if_large(_HIDING * len(body.raw), hide, body, mask)
    if hidden is None:
        return _failed(Outcome.ANSWER_REJECTED)._replace(masked=1)
    data, masked = hidden
    return Reading(Outcome.ANSWERED, Result(result.status, data, result.error), masked)


def _failed(outcome: Outcome, sent: Sent = Sent.ANSWERED, *, status: int = 0) -> Reading:
    return Reading(outcome, failure_result(outcome, sent, status=status))
