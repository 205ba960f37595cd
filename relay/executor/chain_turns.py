"""A chain's turn: its parent was claimed, and goes to its next step or ends. It sends nothing itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gevent

from relay import telemetry
from relay.answer.results import Result, data_from, failure_result, sealed_data
from relay.chains import Create, Reject, StepResult, found_secrets, progress
from relay.invocation import Outcome, State
from relay.loops import surely
from relay.reference_id import new_reference_id
from relay.request.trigger import Trigger, check
from relay.store.transitions import NewStep, Settlement
from relay.vault import payload_owner, raw_owner, result_owner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.answer.masking import Mask
    from relay.chains import ChainPlan, Next
    from relay.executor.call_plans import CallPlans
    from relay.store.invocations import InvocationStore
    from relay.store.steps import StepRecord, Steps
    from relay.store.transitions import CallRecord
    from relay.vault import Vault


@dataclass(frozen=True, slots=True)
class ChainTurn:
    """A chain that knows its next step, or its end."""

    record: CallRecord
    plan: ChainPlan
    next: Next
    secrets: tuple[str, ...]  # what its masks, and those of the chains above, found so far


class ChainTurns:
    """Works out turns, and lays down what they come to."""

    def __init__(self, plans: CallPlans, store: InvocationStore, steps: Steps, data_vault: Vault) -> None:
        self._plans = plans
        self._store = store
        self._steps = steps
        self._vault = data_vault

    def prepare(self, record: CallRecord) -> ChainTurn:
        """The next turn of a chain; raises as `CallPlans.chain`, `RequestRejected`, and `Unavailable`."""
        plan, trigger, results = self._standing(record)
        check(self._plans.shape(record.plugin, record.webhook_id, record.revision), trigger)
        secrets = (*(self._secrets_above(record) or ()), *found_secrets(plan, trigger, results))
        return ChainTurn(record, plan, progress(plan, trigger, results), secrets)

    def begun(self, record: CallRecord) -> bool:
        """Whether a chain has made a step already."""
        return bool(self._steps.of(record.reference_id))

    def new_steps(self, turn: ChainTurn, create: Create) -> list[NewStep]:
        """The invocations that the next step makes, each with its trigger sealed."""
        shape = turn.plan.shapes[create.step]
        if shape is None:
            raise ValueError("a step whose webhook has no revision cannot be created")
        pins: dict[str, int] = json.loads(turn.record.pins or "{}")
        news = []
        for trigger in create.triggers:
            reference_id, payload = new_reference_id(), trigger.to_json()
            owner = payload_owner(turn.record.plugin, reference_id)
            news.append(
                NewStep(
                    reference_id=reference_id,
                    webhook_id=shape.webhook_id,
                    revision=pins[shape.webhook_id],
                    timeout_ms=shape.timeout_ms,
                    repeatable=shape.repeatable,
                    payload=self._vault.seal(payload, owner),
                    request_bytes=len(payload),
                    pins=turn.record.pins if shape.chain else None,
                )
            )
        return news

    def end(self, turn: ChainTurn, claim_token: str) -> Settlement:
        """How a chain ends that has no next step."""
        if isinstance(turn.next, Create):
            return self.rejected(turn, claim_token, turn.next.step, "the chain has made as many steps as it may")
        if isinstance(turn.next, Reject):
            return self.rejected(turn, claim_token, turn.next.step, turn.next.reason)
        return self._settlement(turn, claim_token, turn.next.outcome, turn.next.state, turn.next.result)

    def rejected(self, turn: ChainTurn, claim_token: str, step: int, reason: str) -> Settlement:
        """The end of a chain whose step cannot be made; the reason is for operators."""
        outcome = Outcome.STEP_REJECTED
        result = failure_result(outcome)
        return self._settlement(turn, claim_token, outcome, State.UNREACHABLE, result, f"step {step}: {reason}")

    def secrets_beside(self, record: CallRecord, result: Result) -> tuple[str, ...] | None:
        """What is to be hidden in the answer of a chain's step: what the masks of the chain find with it.

        Also what those of the chains above it have found: they may have handed it down. None where one of them is
        over and cannot be asked any more.
        """
        if record.parent is None or record.step is None:
            return ()
        own = StepResult(result.status, result.data, result.error, Outcome.ANSWERED, State.DELIVERED)
        return self._secrets_above(record, {record.step: [own]})

    def _secrets_above(
        self, record: CallRecord, ended: Mapping[int, Sequence[StepResult]] | None = None
    ) -> tuple[str, ...] | None:
        """What the masks of the chains above have found, with a step of the nearest that has ``ended`` just now."""
        if record.parent is None:
            return ()
        found = self._store.read([record.parent])
        higher = self._secrets_above(found[0]) if found else None
        if higher is None:
            return None
        plan, trigger, results = self._standing(found[0])
        return (*higher, *found_secrets(plan, trigger, {**results, **(ended or {})}))

    def raw(self, record: CallRecord, result: Result) -> bytes:
        """What the chain needs of its step's answer, secrets included, sealed for it alone."""
        return self._vault.seal(sealed_data(result), raw_owner(record.plugin, record.reference_id))

    def _settlement(
        self, turn: ChainTurn, claim_token: str, outcome: Outcome, state: State, result: Result, reason: str = ""
    ) -> Settlement:
        record, masked, sealed, raw = turn.record, 0, b"", b""
        if outcome is Outcome.ANSWERED:
            if record.parent:
                raw = self.raw(record, result)
            data, masked = self._masked(turn, result)
            owner = result_owner(record.plugin, record.reference_id)
            sealed = self._vault.seal(sealed_data(Result(result.status, data, result.error)), owner)
        return Settlement(
            reference_id=record.reference_id,
            claim_token=claim_token,
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

    def _masked(self, turn: ChainTurn, result: Result) -> tuple[Any, int]:
        """A chain's data as its caller may see it; nothing where it is not known what is to be hidden in it."""
        try:
            mask = surely(lambda: self._mask(turn), "conclude", gevent.sleep)
        except Exception as error:  # noqa: BLE001 - the chain has come to its end all the same
            telemetry.fault(error, "chain_mask")
            return None, 0
        return mask.value(result.data)

    def _mask(self, turn: ChainTurn) -> Mask:
        pins: dict[str, int] = json.loads(turn.record.pins or "{}")
        mask = self._plans.chain_mask(turn.record.plugin, pins)
        return mask.with_texts(turn.secrets) if turn.secrets else mask

    def _standing(self, record: CallRecord) -> tuple[ChainPlan, Trigger, Mapping[int, Sequence[StepResult]]]:
        """Where a chain stands: its plan, its input, and how its steps ended."""
        pins = json.loads(record.pins or "{}")
        plan = self._plans.chain(record.plugin, record.webhook_id, record.revision, pins)
        owner = payload_owner(record.plugin, record.reference_id)
        trigger = Trigger.from_json(self._vault.open(record.payload, owner))
        results: dict[int, list[StepResult]] = {}
        for step_record in self._steps.of(record.reference_id):
            if step_record.invocation.step_of and step_record.invocation.state.final:
                results.setdefault(step_record.invocation.step_of.step, []).append(self._result(step_record))
        return plan, trigger, results

    def _result(self, step_record: StepRecord) -> StepResult:
        step = step_record.invocation
        data = None
        if step_record.raw is not None:
            data = data_from(self._vault.open(step_record.raw, raw_owner(step.plugin, step.reference_id)))
        return StepResult(step.status or 0, data, bool(step.error), step.outcome, step.state)
