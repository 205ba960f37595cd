"""What libcurl's error numbers mean before and after the gate."""

import pytest

from relay.domain.invocation import Outcome, Sent
from relay.outbound.failures import TransferNotes, classify


def notes(**seen):
    return TransferNotes(
        **{"entered": False, "late": False, "vetoed": False, "opened": False, "excessive": False, **seen}
    )


@pytest.mark.parametrize("code", range(1, 110))
def test_nothing_was_sent_if_the_gate_was_not_passed(code):
    outcome, sent = classify(code, notes())
    assert sent is Sent.NO
    assert outcome not in (Outcome.ANSWER_TIMEOUT, Outcome.CONNECTION_LOST, Outcome.ANSWER_REJECTED)


@pytest.mark.parametrize("code", range(1, 110))
def test_it_is_never_said_that_nothing_was_sent_once_the_gate_was_passed(code):
    outcome, sent = classify(code, notes(entered=True, opened=True))
    assert sent is (Sent.ANSWERED if outcome is Outcome.ANSWER_REJECTED else Sent.MAYBE)
    assert outcome in (Outcome.ANSWER_TIMEOUT, Outcome.CONNECTION_LOST, Outcome.ANSWER_REJECTED)


@pytest.mark.parametrize(
    ("code", "seen", "outcome"),
    [
        (6, {}, Outcome.DNS_FAILED),
        (7, {"opened": True}, Outcome.CONNECT_FAILED),
        (7, {"vetoed": True}, Outcome.ADDRESS_REFUSED),
        (7, {"vetoed": True, "opened": True}, Outcome.CONNECT_FAILED),
        (28, {"vetoed": True, "opened": True}, Outcome.CONNECT_TIMEOUT),
        (60, {"opened": True}, Outcome.TLS_FAILED),
        (42, {"opened": True, "late": True}, Outcome.CONNECT_TIMEOUT),
        (42, {"opened": True}, Outcome.CONNECT_FAILED),
        (3, {}, Outcome.PREPARE_FAILED),
        # a resend that met a closed port, a veto or the gate: the first request may have arrived
        (7, {"entered": True, "opened": True}, Outcome.CONNECTION_LOST),
        (7, {"entered": True, "vetoed": True}, Outcome.CONNECTION_LOST),
        (42, {"entered": True}, Outcome.CONNECTION_LOST),
        (60, {"entered": True}, Outcome.CONNECTION_LOST),
        (23, {"entered": True, "excessive": True}, Outcome.ANSWER_REJECTED),
        (28, {"entered": True}, Outcome.ANSWER_TIMEOUT),
        (61, {"entered": True}, Outcome.ANSWER_REJECTED),
    ],
)
def test_an_error_number_and_what_the_callbacks_saw_give_the_outcome(code, seen, outcome):
    assert classify(code, notes(**seen))[0] is outcome
