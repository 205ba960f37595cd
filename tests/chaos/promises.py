"""The promises; each checks the evidence of a run against what its callers were told and which faults were injected."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from relay.domain.invocation import Outcome, Sent, State, is_error
from tests.chaos.history import History, Operation, is_explained
from tests.chaos.models import HONOURED_S, MODELS, end_of
from tests.chaos.plan import BY_ID, LEASE_MARGIN_S, Hook

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from relay.domain.invocation import Invocation
    from tests.chaos.callers import AcceptedTrigger
    from tests.chaos.evidence import Evidence
    from tests.chaos.faults import Fault

#: Faults that can make a worker lose a lease: its own, and those of the server, which keep it from settling.
LEASE_FAULTS = ("worker", "server", "connections", "power", "primary", "replica", "slot", "network")
SILENT_FAULTS = ("primary", "replica", "network")  # a cluster's server with the API keys may not answer
SETTLE_SLACK_MS = 2_000  # after a fault's end, until all processes have reconnected
MAX_LOSSES = 3
SHOWN = 3  # how many changes to show
#: How long after its claim an attempt may begin, in seconds, unless its worker stands still meanwhile.
BEGINS_S = 3.0


@dataclass(frozen=True)
class Check:
    """One promise: its text, what was found, and the ids that break it."""

    promise: str
    found: str
    offenders: tuple[str, ...] = ()

    @property
    def is_kept(self) -> bool:
        return not self.offenders


@dataclass(frozen=True)
class Trial:
    """Everything that is judged. ``excused`` are the ids that may have lost data in a power loss."""

    told: list[AcceptedTrigger]
    evidence: Evidence
    faults: list[Fault]
    changed: dict[str, tuple[Any, Any]]
    refused: tuple[str, ...] = ()  # the API's refusals of valid triggers
    hung: int = 0
    excused: frozenset[str] = field(default_factory=frozenset)
    hooks: Mapping[str, Hook] = field(default_factory=lambda: BY_ID)
    history: History = field(default_factory=History)

    def checks(self) -> list[Check]:
        return list(self._checks())

    def _checks(self) -> Iterator[Check]:
        records, receipts = self.evidence.records, self.evidence.receipts
        accepted = {each.reference_id for each in self.told}
        final = {ref for ref, record in records.items() if record.state.final}
        states = Counter(record.state.value for record in records.values())
        yield self._check("every accepted id has a record", f"{len(accepted)} accepted", accepted - records.keys())
        yield self._check("every record is final, also unheard ones", _counted(states), records.keys() - final)
        some = "".join(f", {before} to {after}" for before, after in list(self.changed.values())[:SHOWN])
        yield self._check("a final record never changes", f"{len(self.changed)} changed{some}", self.changed)
        yield self._check("what a caller was told is what the record says", *self._contradicted())
        yield self._check(
            "nothing is received that was not accepted", f"{len(receipts)} ids", receipts.keys() - records.keys()
        )
        yield self._check(
            "an unrepeatable call is received at most once, and once more for each retried answer", *self._doubled()
        )
        yield self._check("a call is received at most once an attempt that may have been sent", *self._unexplained())
        yield self._check("a delivered call was received", *self._imagined())
        yield self._check("a chain's step is made once, after the one before it", *self._misstepped())
        yield self._check("`interrupted` only where a fault allows it", *self._interrupted())
        yield self._check("the pending counters equal a recount", str(self.evidence.pending), _unequal(self.evidence))
        left = self.evidence.left
        yield Check(
            "no permit, waiter, parked call or alarm is left", str(left), tuple(name for name in left if left[name])
        )
        yield Check(
            "no trigger is refused, only asked to come again", f"{len(self.refused)} refused", tuple(self.refused)
        )
        yield self._check("some order explains what clients were told of each call", *self._unexplained_calls())
        yield self._check("some order explains what clients were told of each key", *self._unexplained_keys())
        yield self._check("no call is sent while its webhook is paused", *self._sent_while_paused())
        yield Check("no caller is left without an answer", f"{self.hung} hung", ("callers",) * bool(self.hung))

    def _check(self, promise: str, found: str, offenders: Iterable[str]) -> Check:
        excused = sum(ref in self.excused for ref in offenders)
        text = f"{found}, {excused} within the lost second" if excused else found
        return Check(promise, text, tuple(sorted(ref for ref in offenders if ref not in self.excused)))

    def _contradicted(self) -> tuple[str, list[str]]:
        results = [each for each in self.told if each.result is not None]
        wrong = []
        for each in results:
            record = self.evidence.records.get(each.reference_id)
            if record is None or (record.status, record.error) != each.result:
                wrong.append(each.reference_id)
        return f"{len(results)} results", wrong

    def _doubled(self) -> tuple[str, list[str]]:
        total, twice, wrong = 0, 0, []
        for ref, rows in self.evidence.receipts.items():
            record = self.evidence.records.get(ref)
            if record is None or record.repeatable:
                continue
            total += 1
            statuses = {str(status) for status in self.hooks[record.webhook_id].retry or ()}
            again = sum(what.split(" ")[0] in statuses for _, what in rows)
            twice += len(rows) > 1
            if len(rows) > 1 + again:
                wrong.append(ref)
        return f"{total} received, {twice} of them again for a status", wrong

    def _unexplained(self) -> tuple[str, list[str]]:
        wrong = []
        for ref, rows in self.evidence.receipts.items():
            record = self.evidence.records.get(ref)
            if record is not None and len(rows) > sum(attempt.sent is not Sent.NO for attempt in record.attempts):
                wrong.append(ref)
        return f"{sum(map(len, self.evidence.receipts.values()))} received", wrong

    def _imagined(self) -> tuple[str, list[str]]:
        records = self.evidence.records
        delivered = {ref for ref, each in records.items() if each.state is State.DELIVERED and not each.is_chain}
        return f"{len(delivered)} delivered", sorted(delivered - self.evidence.receipts.keys())

    def _interrupted(self) -> tuple[str, list[str]]:
        refs = {ref for ref, record in self.evidence.records.items() if record.state is State.INTERRUPTED}
        return f"{len(refs)} interrupted", [ref for ref in refs if not self._allows(self.evidence.records[ref])]

    def _misstepped(self) -> tuple[str, list[str]]:
        made: dict[str, list[Invocation]] = {}
        for record in self.evidence.records.values():
            if record.step_of is not None:
                made.setdefault(record.step_of.parent, []).append(record)
        wrong = []
        for parent, steps in made.items():
            steps.sort(key=lambda step: step.step_of.step)
            ends = [step.finished_at_ms for step in steps]
            in_turn = all(end <= step.created_at_ms for end, step in zip(ends, steps[1:], strict=False))
            if [step.step_of.step for step in steps] != list(range(len(steps))) or not in_turn:
                wrong.append(parent)
        return f"{sum(map(len, made.values()))} steps of {len(made)} chains", wrong

    def _allows(self, record: Invocation) -> bool:
        if record.is_chain:  # a chain ends as its last step did; its own losses leave no attempt
            steps = [
                each
                for each in self.evidence.records.values()
                if each.step_of and each.step_of.parent == record.reference_id
            ]
            return record.losses >= MAX_LOSSES or any(each.state is State.INTERRUPTED for each in steps)
        lost = [attempt for attempt in record.attempts if attempt.outcome is Outcome.LEASE_LOST]
        if record.repeatable and len(lost) < MAX_LOSSES and not self._outlived_its_chain(record):
            return False
        return bool(lost) and all(self._explains(each.started_at_ms, record.timeout_ms) for each in lost)

    def _outlived_its_chain(self, step: Invocation) -> bool:
        """Return whether a step's chain had ended before it did: a step whose worker was lost is then not sent again."""
        chain = self.evidence.records.get(step.step_of.parent) if step.step_of else None
        return chain is not None and chain.state.final and chain.finished_at_ms <= step.finished_at_ms

    def _explains(self, started_ms: int, timeout_ms: int) -> bool:
        ended_ms = started_ms + timeout_ms + LEASE_MARGIN_S * 1000
        return any(
            fault.kind.startswith(LEASE_FAULTS) and fault.meets(started_ms - SETTLE_SLACK_MS, ended_ms)
            for fault in self.faults
        )

    def _unexplained_calls(self) -> tuple[str, list[str]]:
        end_s = self._end_s()
        calls, wrong = self.history.of("call"), []
        for ref, operations in calls.items():
            record = self.evidence.records.get(ref)
            told = "unknown" if record is None else end_of(record.state, (record.status, _error_of(record)))
            if not is_explained([*operations, Operation("poll", told, end_s, end_s)], MODELS["call"]):
                wrong.append(ref)
        return f"{sum(map(len, calls.values()))} operations on {len(calls)}", wrong

    def _unexplained_keys(self) -> tuple[str, list[str]]:
        keys = self.history.of("key")
        silent = [fault for fault in self.faults if fault.kind.startswith(SILENT_FAULTS)]

        def counts(each: Operation) -> bool:
            """Return whether its reply says something: in a cluster a known key is honoured while the keys are silent."""
            used_ms = each.began_s * 1000 + HONOURED_S * 1000, each.ended_s * 1000
            return each.told != "valid" or not any(fault.meets(*used_ms) for fault in silent)

        wrong = [
            name for name, operations in keys.items() if not is_explained([*filter(counts, operations)], MODELS["key"])
        ]
        return f"{sum(map(len, keys.values()))} operations on {len(keys)}", wrong

    def _sent_while_paused(self) -> tuple[str, list[str]]:
        steered, wrong, seen = self.history.of("webhook"), [], 0
        stalls = [fault for fault in self.faults if fault.kind.startswith("worker stalled")]
        for ref, record in self.evidence.records.items():
            operations = steered.get(f"{record.plugin}/{record.webhook_id}", [])
            for attempt in record.attempts if operations else ():
                at_s = attempt.started_at_ms / 1000
                held_ms = record.timeout_ms + LEASE_MARGIN_S * 1000
                if attempt.sent is Sent.NO or any(
                    stall.meets(attempt.started_at_ms - held_ms, attempt.started_at_ms) for stall in stalls
                ):
                    continue
                seen += 1
                began = Operation("attempt", "began", at_s - BEGINS_S, at_s)
                if not is_explained([*operations, began], MODELS["webhook"]):
                    wrong.append(ref)
        return f"{seen} attempts of {len(steered)} webhooks, {sum(map(len, steered.values()))} operations", wrong

    def _end_s(self) -> float:
        ends = [each.ended_s for operations in self.history.of("call").values() for each in operations]
        return max(ends, default=0.0)


def _error_of(record: Invocation) -> bool:
    return is_error(record.state, record.error)


def _counted(states: Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def _unequal(evidence: Evidence) -> list[str]:
    unfinished = [record for record in evidence.records.values() if not record.state.final]
    recount = {"count": len(unfinished), "of the plugins": len(unfinished)}
    recount["bytes"] = sum(record.request_bytes for record in unfinished)
    return [name for name, value in recount.items() if evidence.pending.get(name, 0) != value]
