"""After a fault of the relay in mid-call, the call ends, and says whether its request may have been sent."""

from __future__ import annotations

import pytest

from relay.answer.results import failure_result
from relay.domain.invocation import Outcome, Sent, State
from relay.outbound.sender import Sender


@pytest.fixture(scope="module")
def worker(worker, endpoint):
    worker.register({"id": "plain", "url": endpoint.url, "method": "POST"})
    return worker


class Transport:
    """Passes the gate, if the test says so, and then fails as no endpoint can make it fail."""

    def __init__(self, *, passes):
        self._passes = passes

    def perform(self, _request, *, gate, **_):
        assert not self._passes or gate.enter()
        raise MemoryError


def broken(passes):
    def send(_sender, _request, *, gate, **_):
        assert not passes or gate.enter()
        raise MemoryError

    return send


@pytest.mark.parametrize("where", ["in the transport", "around the sender"])
@pytest.mark.parametrize(
    ("passes", "outcome", "sent"),
    [(True, Outcome.CONNECTION_LOST, Sent.MAYBE), (False, Outcome.PREPARE_FAILED, Sent.NO)],
    ids=["gate passed", "gate not passed"],
)
def test_a_call_that_a_fault_of_the_relay_ends_says_whether_it_may_have_been_sent(
    worker, monkeypatch, where, passes, outcome, sent
):
    worker.begin()
    if where == "around the sender":
        monkeypatch.setattr(Sender, "send", broken(passes))
    else:
        monkeypatch.setattr(worker.executor._in_flight._sender, "_transport", Transport(passes=passes))
    refs = worker.trigger("plain", {"n": 1})
    worker.run_to_the_end(refs)
    record = worker.record(refs[0])
    assert [(each.outcome, each.sent) for each in record.attempts] == [(outcome, sent)]
    assert (record.state, record.sent) == (State.UNREACHABLE, sent)
    assert failure_result(record.outcome, record.sent).data["sent"] == str(sent)
