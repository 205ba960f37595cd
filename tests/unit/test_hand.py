"""What a process has in hand."""

from __future__ import annotations

from relay.executor.hand import Hand
from relay.reference_id import new_reference_id


def test_a_message_is_trusted_with_nothing_but_ids():
    ref = new_reference_id()
    assert Hand().take([ref, ref, "no id", 7, None]) == [ref]


def test_what_is_held_is_not_taken_again_until_it_is_let_go():
    hand, ref = Hand(), new_reference_id()
    hand.take([ref])
    assert hand.take([ref]) == []
    hand.let_go([ref])
    assert hand.take([ref]) == [ref]


def test_what_was_asked_for_while_it_was_held_is_named_once_when_it_is_let_go():
    hand, ref, other = Hand(), new_reference_id(), new_reference_id()
    hand.take([ref, other])
    hand.take([ref])
    assert hand.let_go([other]) == []
    assert hand.let_go([ref]) == [ref]
    assert hand.let_go([ref]) == []
