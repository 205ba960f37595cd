"""The checker of histories: it accepts what an order explains, and finds each kind of planted fault."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.history import LOST, History, Operation, is_explained
from tests.chaos.models import HONOURED_S, MODELS, end_of

OK, FAILED = end_of("final", (200, False)), end_of("final", (503, True))


def op(kind, told, began_s, ended_s):
    return Operation(kind, told, began_s, math.inf if told == LOST else ended_s)


ACCEPTED = op("accept", "accepted", 0, 1)
REVOKED, PAUSED, RESUMED = op("revoke", "done", 0, 1), op("pause", "done", 0, 1), op("resume", "done", 4, 5)


def use(told, began_s, ended_s):
    """A use of a key, which a process may still allow for a second after a revocation."""
    return op("use", told, began_s - HONOURED_S, ended_s)


EXPLAINED = {
    "a call ends": ("call", [ACCEPTED, op("poll", "unfinished", 2, 3), op("poll", OK, 4, 5), op("await", OK, 0, 6)]),
    "a poll meets the accept": ("call", [ACCEPTED, op("poll", "unknown", 0.5, 2)]),
    "a reply comes late": ("call", [ACCEPTED, op("poll", "unfinished", 2, 9), op("poll", OK, 3, 4)]),
    "a call is cancelled": ("call", [ACCEPTED, op("cancel", "cancelled", 2, 3), op("poll", "cancelled", 4, 5)]),
    "a call is cancelled twice": ("call", [ACCEPTED, op("cancel", "cancelled", 2, 3), op("cancel", "cancelled", 4, 5)]),
    "cancelling comes too late": ("call", [ACCEPTED, op("cancel", "refused", 2, 3), op("poll", OK, 4, 5)]),
    "a lost cancel took effect": ("call", [ACCEPTED, op("cancel", LOST, 2, 3), op("poll", "cancelled", 4, 5)]),
    "a lost cancel took none": ("call", [ACCEPTED, op("cancel", LOST, 2, 3), op("poll", OK, 4, 5)]),
    "an accept is repeated": ("call", [ACCEPTED, op("poll", OK, 2, 3), op("accept", "accepted", 4, 5)]),
    "a key is revoked": ("key", [use("valid", -2, -1), REVOKED, use("revoked", 2.5, 3)]),
    "a process hears late": ("key", [REVOKED, use("valid", 1.5, 1.6), use("revoked", 2.5, 3)]),
    "a lost revocation": ("key", [op("revoke", LOST, 0, 1), use("valid", 9, 9), use("revoked", 20, 20)]),
    "a webhook is paused": ("webhook", [op("attempt", "began", -2, -1), PAUSED, RESUMED, op("attempt", "began", 5, 6)]),
    "an attempt meets the pause": ("webhook", [op("attempt", "began", 0.5, 2), PAUSED, RESUMED]),
}
PLANTED = {
    "an accepted call is gone": ("call", [ACCEPTED, op("poll", "unknown", 2, 3)]),
    "an accepted call is unknown when it is cancelled": ("call", [ACCEPTED, op("cancel", "unknown", 2, 3)]),
    "a call was never accepted": ("call", [op("poll", OK, 2, 3)]),
    "an end changes": ("call", [ACCEPTED, op("poll", OK, 2, 3), op("poll", FAILED, 4, 5)]),
    "an awaited end is another": ("call", [ACCEPTED, op("await", OK, 0, 2), op("poll", FAILED, 4, 5)]),
    "an end is undone": ("call", [ACCEPTED, op("poll", OK, 2, 3), op("poll", "unfinished", 4, 5)]),
    "a cancelled call is sent": ("call", [ACCEPTED, op("cancel", "cancelled", 2, 3), op("poll", OK, 4, 5)]),
    "an ended call is cancelled": ("call", [ACCEPTED, op("poll", OK, 2, 3), op("cancel", "cancelled", 4, 5)]),
    "a cancel that was not asked for": ("call", [ACCEPTED, op("poll", "cancelled", 2, 3), op("await", OK, 0, 4)]),
    "a revoked key works": ("key", [REVOKED, use("valid", 2.5, 3)]),
    "a revocation is undone": ("key", [REVOKED, use("revoked", 1.2, 1.3), use("valid", 2.5, 3)]),
    "a key is refused without reason": ("key", [use("revoked", 0, 1)]),
    "a paused webhook sends": ("webhook", [PAUSED, RESUMED, op("attempt", "began", 2, 3)]),
}


@pytest.mark.parametrize(("kind", "operations"), EXPLAINED.values(), ids=EXPLAINED)
def test_what_an_order_explains_is_accepted(kind, operations):
    assert is_explained(operations, MODELS[kind])


@pytest.mark.parametrize(("kind", "operations"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_of_each_kind_is_found(kind, operations):
    assert not is_explained(operations, MODELS[kind])


@pytest.mark.parametrize(("kind", "operations"), [*EXPLAINED.values(), *PLANTED.values()])
def test_the_order_in_which_operations_are_listed_does_not_matter(kind, operations):
    assert is_explained(operations, MODELS[kind]) == is_explained(operations[::-1], MODELS[kind])


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 9), st.booleans()), max_size=7))
def test_a_call_that_any_interleaving_ends_once_is_always_explained(polls):
    """Polls whose reply is what held at their beginning: the call ended at second 20."""
    operations = [op("accept", "accepted", -2, -1)]
    for began_s, took_s, late in polls:
        at_s = began_s + took_s * late
        operations.append(op("poll", OK if at_s >= 20 else "unfinished", began_s, began_s + took_s))
    assert is_explained(operations, MODELS["call"])


def test_a_history_keeps_the_operations_on_each_object():
    history = History()
    history.add("call", "a", ACCEPTED)
    history.add("call", "b", ACCEPTED)
    history.add("key", "a", REVOKED)
    assert history.of("call") == {"a": [ACCEPTED], "b": [ACCEPTED]}
    assert history.of("webhook") == {}
