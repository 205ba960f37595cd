"""Conditions that runs reach sometimes; a suite that never reaches one of them does not test what it seems to test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.domain.invocation import Outcome, State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay.domain.invocation import Invocation
    from tests.chaos.callers import Callers
    from tests.chaos.evidence import Evidence

#: What a suite of three short runs reaches, whatever their seeds: `tests.chaos.faults.FIRST` makes sure of the rare ones.
SOMETIMES = frozenset(
    {
        "a request got no answer",
        "a trigger was told to come again",
        "a trigger was repeated under its key",
        "a lease was lost",
        "an unrepeatable call was interrupted",
        "a call was sent again for its status",
        "an endpoint could not be contacted",
        "a breaker was open",
        "a chain ended",
        "a call was cancelled",
        "a call could not be cancelled any more",
        "a poll found a call unfinished",
        "a webhook was paused",
        "a revoked key was refused",
    }
)


def reached(callers: Callers, evidence: Evidence) -> frozenset[str]:
    """Return the conditions that a run has reached."""
    return frozenset(_reached(callers, evidence))


def _reached(callers: Callers, evidence: Evidence) -> Iterable[str]:
    seen = {
        "a request got no answer": callers.answers["none"] or callers.hung,
        "a trigger was told to come again": callers.answers["503"],
        "a trigger was repeated under its key": callers.repeated,
    }
    yield from (condition for condition, count in seen.items() if count)
    operations = {
        (kind, each.kind, each.told)
        for kind in ("call", "webhook", "key")
        for of_one in callers.history.of(kind).values()
        for each in of_one
    }
    yield from (condition for condition, operation in _TOLD.items() if operation in operations)
    for record in evidence.records.values():
        yield from (condition for condition, holds in _of_record(record).items() if holds)


_TOLD = {
    "a call was cancelled": ("call", "cancel", "cancelled"),
    "a call could not be cancelled any more": ("call", "cancel", "refused"),
    "a poll found a call unfinished": ("call", "poll", "unfinished"),
    "a webhook was paused": ("webhook", "pause", "done"),
    "a revoked key was refused": ("key", "use", "revoked"),
}


def _of_record(record: Invocation) -> dict[str, bool]:
    outcomes = [attempt.outcome for attempt in record.attempts]
    return {
        "a lease was lost": Outcome.LEASE_LOST in outcomes or record.losses > 0,
        "an unrepeatable call was interrupted": record.state is State.INTERRUPTED and not record.repeatable,
        "a call was sent again for its status": outcomes.count(Outcome.ANSWERED) > 1,
        "an endpoint could not be contacted": Outcome.CONNECT_FAILED in outcomes,
        "a breaker was open": record.outcome is Outcome.BREAKER_OPEN,
        "a chain ended": record.is_chain and record.state.final,
    }
