"""Works out a chain's next step, or its end. Nothing is sent here."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self
from uuid import uuid4

from gevent.event import Event as Signal

from relay.answer.masking import Mask
from relay.answer.results import Result, json_data
from relay.answer.search import TooMuchWork
from relay.chains import (
    HALF_PAIR,
    Create,
    Finish,
    Reject,
    StepResult,
    TooManySecrets,
    found_secrets,
    progress,
    secrets_beside,
)
from relay.domain.invocation import MEANINGS, Outcome, Purpose, State
from relay.domain.reference_id import new_reference_id
from relay.errors import Unavailable
from relay.executor.large_work import EVALUATING, LARGE_BYTES, making_bytes, run_in_thread_if_large
from relay.request.trigger import check
from relay.store.ledger.steps import StepRecord
from relay.store.ledger.transitions import ChainEnd, NewStep, NextStep, Settlement
from relay.telemetry import log
from relay.text.strict_json import dump_json
from relay.vault import payload_owner, raw_owner, result_owner, secrets_owner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.chains import Next
    from relay.executor.call_plans import CallPlans
    from relay.executor.chain_states import ChainState, ChainStates
    from relay.store.ledger.steps import Steps
    from relay.store.ledger.transitions import CallRecord
    from relay.vault import Vault

#: How many steps a process keeps the secrets of.
MAX_HIDINGS: Final = 1_024
#: How a chain ends if its result takes too much work to search for secrets, like any call with such an answer.
_UNSEARCHED: Final = (Outcome.ANSWER_REJECTED, MEANINGS[Outcome.ANSWER_REJECTED].state, Result(0, None, error=True))


@dataclass(frozen=True, slots=True)
class Decided:
    """A chain, and what it does next; ``done`` is set once the server has done that, or the chain is given up."""

    record: CallRecord
    decision: NextStep | ChainEnd
    done: Signal = field(default_factory=Signal, compare=False)


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """A chain whose next step, or end, was worked out from the results of the previous steps."""

    record: CallRecord
    chain_state: ChainState
    next: Next
    secrets: tuple[str, ...]  # found so far by its masks and by those of the chains above it


class Hidden(NamedTuple):
    """What the answer of a chain's step must not show, besides the secrets of its own webhook."""

    mask: Mask  # for the secrets and addresses of the chain's webhooks
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Hiding:
    """What a chain hides in the answers of one of its steps."""

    secrets: tuple[str, ...]  # found before the step
    count: int  # calls that the previous steps made
    masks: bool  # whether the step has masks of its own, which may find more secrets in each of its answers
    pins: Mapping[str, int]  # the revisions of all webhooks of the chain, whose secrets its steps may hand on

    def to_json(self) -> bytes:
        return dump_json([list(self.secrets), self.count, self.masks, self.pins])

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        secrets, count, masks, *more = json.loads(raw)  # an older release wrote no pins
        return cls(tuple(secrets), count, masks, more[0] if more else {})


class ChainEvaluator:
    """Works out what a chain does next, and seals the steps, secrets and results that this produces."""

    def __init__(
        self, plans: CallPlans, steps: Steps, chain_states: ChainStates, data_vault: Vault, target_vault: Vault
    ) -> None:
        self._plans = plans
        self._steps = steps
        self._states = chain_states
        self._data_vault = data_vault
        self._target_vault = target_vault
        self._hidings: OrderedDict[tuple[str, int], _Hiding] = OrderedDict()  # by chain and step

    def read_ahead(self, records: Sequence[CallRecord]) -> None:
        """Read together what `decide` needs of these chains."""
        self._states.read_ahead(records)

    def decide(self, record: CallRecord) -> Decided:
        """Work out what a chain does next; raise what `CallPlans.chain` raises, `RequestRejected` or `Unavailable`."""
        evaluation, token = self._evaluation(record), uuid4().hex
        then, made = evaluation.next, evaluation.chain_state.count
        if isinstance(then, Create):
            try:
                news, secrets = self._new_steps(evaluation, then), self._sealed_secrets(evaluation, then)
                return Decided(record, NextStep(record.reference_id, token, made, then.step, news, secrets))
            except UnicodeEncodeError:
                then = Reject(then.step, HALF_PAIR)
        return Decided(record, ChainEnd(made, self._end(evaluation, token, then)))

    def _evaluation(self, record: CallRecord) -> _Evaluation:
        chain_state = self._states.current(record)
        check(self._plans.shape(record.plugin, record.webhook_id, record.revision), chain_state.trigger)
        above = self._hidden_in(record)
        secrets = () if above is None else above.secrets
        return run_in_thread_if_large(EVALUATING * chain_state.size_bytes, _evaluate, record, chain_state, secrets)

    def _new_steps(self, evaluation: _Evaluation, create: Create) -> list[NewStep]:
        """Make the invocations of the next step, each with its trigger sealed."""
        record, shape = evaluation.record, evaluation.chain_state.plan.shapes[create.step]
        if shape is None:
            raise ValueError("a step whose webhook has no revision cannot be created")
        pins: dict[str, int] = json.loads(record.pins or "{}")
        news = []
        for trigger in create.triggers:
            reference_id, payload = new_reference_id(record.plugin), trigger.to_json()
            nested = record.pins if shape.chain else None
            purpose = Purpose(shape.webhook_id, pins[shape.webhook_id], nested, record.reference_id, create.step)
            stamp = self._plans.stamp(record.plugin, shape.webhook_id, purpose.revision)
            owner = payload_owner(record.plugin, reference_id, purpose, stamp)
            news.append(
                NewStep(
                    reference_id=reference_id,
                    webhook_id=shape.webhook_id,
                    revision=purpose.revision,
                    timeout_ms=shape.timeout_ms,
                    repeatable=shape.repeatable,
                    payload=self._target_vault.seal(payload, owner),
                    request_bytes=len(payload),
                    pins=nested,
                    max_age_ms=shape.max_age_ms,
                    callback=shape.callback or "",
                )
            )
        return news

    def _sealed_secrets(self, evaluation: _Evaluation, create: Create) -> bytes:
        """Seal what the chain hides in the answers of a step, for the workers that read these answers."""
        record, chain_state = evaluation.record, evaluation.chain_state
        has_masks = bool(chain_state.plan.steps[create.step].mask)
        hiding = _Hiding(evaluation.secrets, chain_state.count, has_masks, json.loads(record.pins or "{}"))
        self._keep((record.reference_id, create.step), hiding)
        owner = secrets_owner(record.plugin, record.reference_id, create.step)
        return self._target_vault.seal(hiding.to_json(), owner)

    def _end(self, evaluation: _Evaluation, token: str, then: Finish | Reject) -> Settlement:
        """Settle a chain that has no next step."""
        if isinstance(then, Finish):
            return self._settlement(evaluation, token, then.outcome, then.state, then.result)
        result, why = Result(0, None, error=True), f"step {then.step}: {then.reason}"
        return self._settlement(evaluation, token, Outcome.STEP_REJECTED, State.UNREACHABLE, result, why)

    def hidden_beside(self, record: CallRecord, result: Result, size_bytes: int) -> Hidden | None:
        """Return what to hide in the answer of a chain's step, besides the secrets of its own webhook.

        These are the secrets of the chain's other webhooks, and what the masks of the chain and of the chains above it
        find, in this answer too, because steps pass on what they receive. Returns None if the chain has ended, so that
        the texts can no longer be found. Raises TooManySecrets, or what `CallPlans.chain_mask` raises.
        """
        hiding = self._hidden_in(record)
        if hiding is None:
            return None
        texts = self._texts_beside(record, hiding, result, size_bytes) if hiding.masks else hiding.secrets
        return None if texts is None else Hidden(self._plans.chain_mask(record.plugin, hiding.pins), texts)

    def _texts_beside(
        self, record: CallRecord, hiding: _Hiding, result: Result, size_bytes: int
    ) -> tuple[str, ...] | None:
        chain_state = self._states.of_step(record, hiding.count)
        if chain_state is None or record.step is None:
            return None
        own = StepResult(result.status, result.data, result.error, Outcome.ANSWERED, State.DELIVERED)
        number, above = record.step, hiding.secrets
        return run_in_thread_if_large(
            EVALUATING * (chain_state.size_bytes + size_bytes),
            lambda: secrets_beside(chain_state.plan.steps[number], number, chain_state.seen_before(number), own, above),
        )

    def sealed_answer(self, record: CallRecord, result: Result) -> bytes:
        """Seal a step's answer for its chain, secrets included, so that only workers can open it."""
        if record.parent is None or record.step is None:
            return b""
        owner = raw_owner(record.plugin, record.reference_id, record.parent, record.step)
        return self._target_vault.seal(json_data(result), owner)

    def settled(self, record: CallRecord, settlement: Settlement) -> None:
        """Note the answer of a step that this process has settled, for the next decision on its chain."""
        if record.parent is None or record.step is None or not 0 < len(settlement.raw) < LARGE_BYTES:
            return
        hiding = self._hidings.get((record.parent, record.step))
        if hiding is None:
            return
        step = StepRecord(
            record.reference_id,
            record.step,
            settlement.state,
            settlement.status or 0,
            bool(settlement.error),
            settlement.outcome,
            sent=None,
            raw=settlement.raw,
        )
        self._states.add(record.plugin, record.parent, hiding.count, step)

    def _hidden_in(self, record: CallRecord) -> _Hiding | None:
        """Return what a step's chain hides in its answers; None if it is no step, or its chain is over and not kept."""
        if record.parent is None or record.step is None:
            return None
        place = record.parent, record.step
        if place not in self._hidings:
            sealed = self._steps.secrets(record.parent)
            if not sealed:
                return None
            opened = self._target_vault.open(sealed, secrets_owner(record.plugin, record.parent, record.step))
            self._keep(place, _Hiding.from_json(opened))
        return self._hidings.get(place)

    def _keep(self, place: tuple[str, int], hiding: _Hiding) -> None:
        self._hidings[place] = hiding
        while len(self._hidings) > MAX_HIDINGS:
            self._hidings.popitem(last=False)

    def _settlement(
        self,
        evaluation: _Evaluation,
        token: str,
        outcome: Outcome,
        state: State,
        result: Result,
        reason: str = "",
    ) -> Settlement:
        record, masked, sealed, raw = evaluation.record, 0, b"", b""
        if outcome is Outcome.ANSWERED:
            size_bytes, owner = evaluation.chain_state.size_bytes, result_owner(record.plugin, record.reference_id)
            try:
                result = run_in_thread_if_large(size_bytes, _without_ids, result, evaluation.chain_state.ids)
                data, masked = self._masked(evaluation, result)
            except TooMuchWork:
                return self._settlement(evaluation, token, *_UNSEARCHED)
            raw = run_in_thread_if_large(size_bytes, self.sealed_answer, record, result)
            shown = result._replace(data=data)
            sealed = run_in_thread_if_large(size_bytes, lambda: self._data_vault.seal(json_data(shown), owner))
        self._states.forget(record.reference_id)
        return Settlement(
            reference_id=record.reference_id,
            claim_token=token,
            state=state,
            outcome=outcome,
            status=result.status,
            error=result.error,
            attempt=None,
            masked=masked,
            result=sealed,
            raw=raw,
            reason=reason,
        )

    def _masked(self, evaluation: _Evaluation, result: Result) -> tuple[Any, int]:
        """Mask a chain's data for its caller, and count what was masked; drop the data if the mask cannot be made."""
        try:
            pins: dict[str, int] = json.loads(evaluation.record.pins or "{}")
            mask = self._plans.chain_mask(evaluation.record.plugin, pins)
        except Unavailable:
            raise  # it is decided again later
        except Exception as error:  # noqa: BLE001 - the chain has ended all the same
            log.fault(error, "chain_mask")
            return None, 0
        size_bytes = evaluation.chain_state.size_bytes + making_bytes(evaluation.secrets)
        return run_in_thread_if_large(size_bytes, lambda: mask.with_texts(evaluation.secrets).value(result.data))


def _evaluate(record: CallRecord, chain_state: ChainState, above: tuple[str, ...]) -> _Evaluation:
    where = chain_state.plan, chain_state.trigger, chain_state.results
    try:
        secrets = found_secrets(*where, above)
    except TooManySecrets as error:
        step = max(chain_state.results, default=0) if error.step is None else error.step
        return _Evaluation(record, chain_state, Reject(step, str(error)), ())
    return _Evaluation(record, chain_state, progress(*where), secrets)


def _without_ids(result: Result, ids: Sequence[str]) -> Result:
    """Hide the ids of a chain's steps in its result: endpoints echo them, and its caller may not know of the steps."""
    text = json_data(result)
    echoed = [each for each in ids if each.encode() in text]
    return result._replace(data=Mask(()).with_texts(echoed).value(result.data)[0]) if echoed else result


def stopped(record: CallRecord, outcome: Outcome) -> Decided:
    """Return the end of a chain that cannot go on. A rejected chain has no result."""
    state = MEANINGS[outcome].state
    status, error = (None, None) if state is State.REJECTED else (0, True)
    settlement = Settlement(record.reference_id, uuid4().hex, state, outcome, status, error, attempt=None)
    return Decided(record, ChainEnd(record.made, settlement))
