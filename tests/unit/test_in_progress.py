"""The calls that a process has in progress."""

from __future__ import annotations

from relay.domain.reference_id import new_reference_id
from relay.executor.scheduler import InProgress


def test_a_message_is_trusted_with_nothing_but_ids():
    ref = new_reference_id()
    assert InProgress().take([ref, ref, "no id", 7, None]) == [ref]


def test_what_is_held_is_not_taken_again_until_it_is_let_go():
    in_progress, ref = InProgress(), new_reference_id()
    in_progress.take([ref])
    assert in_progress.take([ref]) == []
    in_progress.release([ref])
    assert in_progress.take([ref]) == [ref]


def test_what_was_asked_for_while_it_was_held_is_named_once_when_it_is_let_go():
    in_progress, ref, other = InProgress(), new_reference_id(), new_reference_id()
    in_progress.take([ref, other])
    in_progress.take([ref])
    assert in_progress.release([other]) == []
    assert in_progress.release([ref]) == [ref]
    assert in_progress.release([ref]) == []
