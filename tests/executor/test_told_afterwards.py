"""What the record of a call says after a fault of the relay: whether its request may have left, and so what may be repeated.

A call always ends after a fault; these tests look at what is told of it then.
"""

from __future__ import annotations

import pytest

from relay.domain.invocation import Outcome, Sent, State
from relay.store.replays.runs import Request
from tests.executor.one_worker import PLUGIN


class Fault(Exception):
    """A bug of the relay."""


def before_the_gate(worker, patch):
    patch.setattr(worker.executor._in_flight._sender, "send", _raise)


def after_the_gate(worker, patch):
    sender = worker.executor._in_flight._sender

    def send(request, *, gate, deadline_s, repeatable):
        assert gate.enter()
        raise Fault

    patch.setattr(sender, "send", send)


def after_the_answer(worker, patch):
    patch.setattr(worker.executor._in_flight._conclusion, "conclude", _raise)


def _raise(*_args, **_more):
    raise Fault


#: Where the fault strikes, how the record says that the attempt ended, and what it says of its request.
PLACES = {
    before_the_gate: (Outcome.PREPARE_FAILED, Sent.NO),
    after_the_gate: (Outcome.CONNECTION_LOST, Sent.MAYBE),
    after_the_answer: (Outcome.ANSWER_REJECTED, Sent.ANSWERED),
}


@pytest.fixture(scope="module")
def worker(worker, endpoint):
    worker.register(
        {"id": "once", "url": endpoint.url, "method": "POST"},
        {"id": "often", "url": endpoint.url, "method": "PUT"},
        {"id": "gone", "url": "http://127.0.0.1:9/", "method": "POST"},
    )
    return worker


@pytest.mark.parametrize("webhook", ["once", "often"])
@pytest.mark.parametrize("place", PLACES)
def test_after_a_fault_the_record_says_whether_the_request_may_have_left_and_a_replay_heeds_it(
    worker, endpoint, monkeypatch, place, webhook
):
    worker.begin()
    place(worker, monkeypatch)
    received = len(endpoint.requests)
    (ref,) = worker.trigger(webhook, {"n": 1})
    worker.run_to_the_end([ref])
    record, (outcome, sent) = worker.record(ref), PLACES[place]
    assert (record.state, record.status, record.error) == (State.UNREACHABLE, 0, True)
    assert [(each.outcome, each.sent) for each in record.attempts] == [(outcome, sent)]
    assert (len(endpoint.requests) > received) == (sent is Sent.ANSWERED)
    plan = worker.operators.replays.plan(PLUGIN, Request(reference_ids=[ref]))
    may_go = webhook == "often" or sent is Sent.NO
    assert plan.skipped_reasons == ({} if may_go else {"uncertain": 1})
    assert worker.leftovers() == {}


def test_a_fault_after_an_answer_that_never_came_leaves_what_is_known_of_it(worker, monkeypatch):
    worker.begin()
    after_the_answer(worker, monkeypatch)
    (ref,) = worker.trigger("gone", {"n": 1})
    worker.run_to_the_end([ref])
    (attempt,) = worker.record(ref).attempts
    assert (attempt.outcome, attempt.sent) == (Outcome.CONNECT_FAILED, Sent.NO)
    assert worker.operators.replays.plan(PLUGIN, Request(reference_ids=[ref])).skipped_reasons == {}
