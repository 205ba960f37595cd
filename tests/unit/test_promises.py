"""What chaos runs judge: when a call may end as `interrupted`."""

from __future__ import annotations

import pytest

from relay.domain.invocation import Attempt, Invocation, Outcome, Sent, State, StepOf
from tests.chaos.evidence import Evidence
from tests.chaos.faults import Fault
from tests.chaos.promises import MAX_LOSSES, Trial

STALL = Fault("worker stalled beyond its lease", "worker_bulk", 1_000, 6_000)


def lost(number):
    return Attempt(number, 1_000, 5_000, 0, Outcome.LEASE_LOST, Sent.MAYBE)


def interrupted(*, losses=1, repeatable=True, step_of=None):
    attempts = tuple(lost(number + 1) for number in range(losses))
    return Invocation(
        "call",
        "acme",
        "hook",
        1,
        State.INTERRUPTED,
        "bulk",
        900,
        timeout_ms=2_000,
        repeatable=repeatable,
        attempts=attempts,
        finished_at_ms=6_000,
        step_of=step_of,
    )


def chain(state, finished_at_ms):
    return Invocation("chain", "acme", "linked", 1, state, "bulk", 100, finished_at_ms=finished_at_ms, is_chain=True)


STEP = {"step_of": StepOf("chain", 1, 0)}


@pytest.mark.parametrize(
    ("allowed", "records", "faults"),
    [
        (True, [interrupted(repeatable=False)], [STALL]),
        (False, [interrupted(repeatable=False)], []),
        (False, [interrupted()], [STALL]),
        (True, [interrupted(losses=MAX_LOSSES)], [STALL]),
        (True, [interrupted(**STEP), chain(State.CANCELLED, 3_000)], [STALL]),
        (False, [interrupted(**STEP), chain(State.CANCELLED, 3_000)], []),
        (False, [interrupted(**STEP), chain(State.UNREACHABLE, 6_001)], [STALL]),
        (False, [interrupted(**STEP), chain(State.WAITING, None)], [STALL]),
    ],
    ids=[
        "an unrepeatable call whose worker was lost",
        "one whose worker was not lost",
        "a repeatable call whose worker was lost once",
        "one whose worker was lost too often",
        "a step whose chain was cancelled meanwhile",
        "one whose worker was not lost",
        "a step whose chain ended later",
        "a step whose chain goes on",
    ],
)
def test_a_call_ends_interrupted_only_where_a_fault_allows_it(allowed, records, faults):
    evidence = Evidence({each.reference_id: each for each in records}, {}, {}, {}, len(records))
    checks = {check.promise: check for check in Trial([], evidence, faults, {}).checks()}
    assert ("call" not in checks["`interrupted` only where a fault allows it"].offenders) == allowed
