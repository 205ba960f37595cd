"""Whatever an endpoint answers, the calls to other endpoints go on beside it."""

from __future__ import annotations

import gevent
import pytest

from relay.domain.invocation import Outcome, Sent, State
from tests.hostile_answers import MIB, hostile_answers
from tests.integration.worker_harness import hook, worker_harness
from tests.outbound import calling
from tests.receivers import in_turn, json_answer, receiver
from tests.stretches import stretches
from tests.timing import least

MAX_DELAY_S = 0.05
HOSTILE = {hostile.name: hostile for hostile in hostile_answers()}
SHORT = {hostile.name: hostile for hostile in hostile_answers(MIB // 8)}


@pytest.fixture(scope="module")
def others():
    with receiver(json_answer({"ok": True})) as endpoint:
        yield endpoint


@pytest.fixture
def caller():
    with calling() as made:
        yield made


def call_beside(caller, endpoint, others, timeout_s):
    """Call a hostile endpoint, and others until it has answered; return its answer and the longest delay of others."""
    caller.call(others.url)
    with stretches() as measured:
        hostile = gevent.spawn(caller.call, endpoint.url, timeout_s=timeout_s)
        answers = [caller.call(others.url)]
        while not hostile.ready():
            answers.append(caller.call(others.url))
    assert {answer.outcome for answer in answers} == {Outcome.ANSWERED}
    return hostile.get(), measured.longest_s


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_delays_no_other_call(caller, others, name):
    answers = []

    def delay_s():
        with receiver(HOSTILE[name].script) as endpoint:
            answer, longest_s = call_beside(caller, endpoint, others, HOSTILE[name].timeout_s)
        answers.append(answer)
        return longest_s

    assert least(delay_s, wanted=MAX_DELAY_S) <= MAX_DELAY_S
    assert {answer.outcome for answer in answers} == {HOSTILE[name].outcome}


def test_many_answers_that_take_long_to_decode_take_turns(caller, others):
    def delay_s():
        with receiver(SHORT["gzip of empty dynamic blocks"].script) as endpoint, stretches() as measured:
            hostile = [gevent.spawn(caller.call, endpoint.url, timeout_s=60) for _ in range(20)]
            assert caller.call(others.url).outcome is Outcome.ANSWERED
            gevent.joinall(hostile)
        assert {each.get().outcome for each in hostile} == {Outcome.ANSWER_REJECTED}
        return measured.longest_s

    assert least(delay_s, wanted=MAX_DELAY_S) <= MAX_DELAY_S


def test_decoding_ends_at_the_deadline(caller, monkeypatch):
    monkeypatch.setattr("relay.outbound.content_coding.STEP_CODED_BYTES", 1)
    with receiver(HOSTILE["gzip of empty dynamic blocks"].script) as endpoint:
        answer = caller.call(endpoint.url, timeout_s=1)
    assert (answer.outcome, answer.sent) == (Outcome.ANSWER_TIMEOUT, Sent.MAYBE)
    assert answer.duration_ms < 3000


def test_a_worker_outlives_hostile_answers_and_its_other_calls_are_delivered(tmp_path_factory):
    """All calls are unrepeatable: one that was lost with its worker would end interrupted."""
    scripts = [hostile.script for hostile in SHORT.values()]
    with (
        worker_harness(tmp_path_factory) as harness,
        receiver(in_turn(*scripts)) as hostile,
        receiver(json_answer({"ok": True})) as others,
    ):
        harness.register(hook(others.url), {**hook(hostile.url), "id": "hostile", "timeout": 10})
        worker = harness.start_worker()
        attacks = harness.trigger_many(len(scripts), "hostile")
        calls = harness.trigger_many(200)
        assert {record.state for record in harness.finals(calls)} == {State.DELIVERED}
        assert {record.state for record in harness.finals(attacks)} == {State.DELIVERED, State.UNREACHABLE}
        assert worker.poll() is None
