"""Reads the states of chains; a process reads and opens each step's result only once."""

from __future__ import annotations

import json
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from relay.chains import StepResult, seen_before
from relay.domain.invocation import Outcome
from relay.errors import NotFound, StoreFault, Unavailable
from relay.executor.large_work import run_in_thread_if_large
from relay.text import gradual_json
from relay.vault import raw_owner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.chains import ChainPlan
    from relay.executor.call_plans import CallPlans
    from relay.executor.payloads import Payloads
    from relay.request.trigger import Trigger
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.ledger.steps import StepRecord, Steps
    from relay.store.ledger.transitions import CallRecord
    from relay.vault import Vault

#: Bytes of sealed answers and triggers to keep, for all chains and for one. Once parsed, they take several times more.
MAX_KEPT_BYTES: Final = 8 * 1024 * 1024
MAX_KEPT_BYTES_OF_ONE: Final = 1024 * 1024
MAX_KEPT: Final = 512


@dataclass(slots=True)
class ChainState:
    """A chain's plan and input, and the ids of its steps' calls and how they ended, for the first ``count`` of them."""

    plan: ChainPlan
    trigger: Trigger
    results: dict[int, list[StepResult]]
    count: int
    size_bytes: int
    ids: tuple[str, ...] = ()
    _seen: dict[int, dict[str, Any]] = field(default_factory=dict)

    def seen_before(self, number: int) -> Mapping[str, Any]:
        """Return what expressions see when the step with this number is made."""
        if number not in self._seen:
            self._seen = {number: seen_before(self.plan, self.trigger, self.results, number)}
        return self._seen[number]


class ChainStates:
    """Reads the states of chains, and keeps what it has read: a step that has ended never changes."""

    def __init__(
        self, plans: CallPlans, store: InvocationStore, steps: Steps, payloads: Payloads, target_vault: Vault
    ) -> None:
        self._plans = plans
        self._store = store
        self._steps = steps
        self._payloads = payloads
        self._target_vault = target_vault
        self._kept: OrderedDict[str, ChainState] = OrderedDict()
        self._kept_bytes = 0
        self._ahead: dict[str, tuple[int, Sequence[StepRecord]]] = {}  # by chain: first number, calls from there

    def read_ahead(self, records: Sequence[CallRecord]) -> None:
        """Read what `current` needs of these chains, all at once. If that fails, `current` reads each by itself."""
        ranges = [
            (record.reference_id, first, record.made)
            for record in records
            if (first := self._count_of(record)) < record.made
        ]
        with suppress(Unavailable, StoreFault):
            found = self._steps.of_each(ranges) if ranges else ()
            self._ahead = {ref: (first, calls) for (ref, first, _), calls in zip(ranges, found, strict=True)}

    def current(self, record: CallRecord) -> ChainState:
        """Read the present state of a chain; raise what `CallPlans.chain` and `Steps` raise, or `VaultError`.

        Also raises NotFound if a step was answered and the answer is gone: nothing may be sent without it.
        """
        return self._read(record, record.made)

    def of_step(self, record: CallRecord, count: int) -> ChainState | None:
        """Return the state of a step's chain when it made the step, after ``count`` calls; None if it is gone."""
        if record.parent is None:
            return None
        known = self._kept.get(record.parent)
        if known is not None and known.count >= count:
            return known
        found = self._store.read([record.parent])
        return self._read(found[0], count) if found else None

    def add(self, plugin: str, reference_id: str, before: int, step: StepRecord) -> None:
        """Add a step that has ended in this process to what is known of its chain, so that it need not be read.

        ``before`` is how many calls the earlier steps had made. The calls of a ``forEach`` are read later.
        """
        known = self._kept.get(reference_id)
        if known is not None and known.count == before and known.plan.steps[step.step].for_each is None:
            self._keep(reference_id, self._with(known, plugin, reference_id, [step]))

    def forget(self, reference_id: str) -> None:
        """Forget a chain that is over."""
        chain_state = self._kept.pop(reference_id, None)
        if chain_state is not None:
            self._kept_bytes -= chain_state.size_bytes

    def _count_of(self, record: CallRecord) -> int:
        known = self._known(record, record.made)
        return 0 if known is None else known.count

    def _known(self, record: CallRecord, end: int) -> ChainState | None:
        """Return what is known of a chain, unless its record says less: a failover may lose the last writes."""
        known = self._kept.get(record.reference_id)
        return known if known is not None and known.count <= end else None

    def _read(self, record: CallRecord, end: int) -> ChainState:
        known = self._known(record, end) or self._at_start(record)
        further = self._further(record.reference_id, known.count, end)
        chain_state = self._with(known, record.plugin, record.reference_id, further)
        if all(step.state.final for step in further):
            self._keep(record.reference_id, chain_state)
        return chain_state

    def _further(self, reference_id: str, first: int, end: int) -> Sequence[StepRecord]:
        if end <= first:
            return ()
        first_read, steps = self._ahead.pop(reference_id, (None, ()))
        return steps if first_read == first else self._steps.of(reference_id, first, end)

    def _at_start(self, record: CallRecord) -> ChainState:
        pins = json.loads(record.pins or "{}")
        plan = self._plans.chain(record.plugin, record.webhook_id, record.revision, pins)
        stamp = self._plans.stamp(record.plugin, record.webhook_id, record.revision)
        size_bytes = len(record.payload)
        trigger = run_in_thread_if_large(size_bytes, self._payloads.open, record, stamp)
        return ChainState(plan, trigger, {}, 0, size_bytes)

    def _with(self, known: ChainState, plugin: str, reference_id: str, further: Sequence[StepRecord]) -> ChainState:
        results = {number: list(of_step) for number, of_step in known.results.items()}
        size_bytes = known.size_bytes
        for step in further:
            if step.state.final:
                results.setdefault(step.step, []).append(self._result(plugin, reference_id, step))
                size_bytes += len(step.raw or b"")
        ids = known.ids + tuple(step.reference_id for step in further)
        return ChainState(known.plan, known.trigger, results, known.count + len(further), size_bytes, ids)

    def _result(self, plugin: str, reference_id: str, step: StepRecord) -> StepResult:
        data = None
        if step.raw is None and step.outcome is Outcome.ANSWERED:
            raise NotFound("The answer of an earlier step is not there any more.")
        if step.raw is not None:
            raw, owner = step.raw, raw_owner(plugin, step.reference_id, reference_id, step.step)
            data = run_in_thread_if_large(len(raw), lambda: gradual_json.loads(self._target_vault.open(raw, owner)))
        return StepResult(step.status, data, step.error, step.outcome, step.state, step.sent)

    def _keep(self, reference_id: str, chain_state: ChainState) -> None:
        self.forget(reference_id)
        if chain_state.size_bytes > MAX_KEPT_BYTES_OF_ONE:
            return
        self._kept[reference_id] = chain_state
        self._kept_bytes += chain_state.size_bytes
        while self._kept_bytes > MAX_KEPT_BYTES or len(self._kept) > MAX_KEPT:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.size_bytes
