"""Authorization servers that hang delay only the calls that need their tokens."""

from __future__ import annotations

import time

import pytest

from relay.domain.invocation import Outcome, State
from relay.executor import access_tokens
from tests.executor.one_worker import OneWorker
from tests.executor.site import CREDENTIALS
from tests.receivers import json_answer, never_answers, receiver

FETCH_S = 1.0


@pytest.fixture
def worker(valkey, monkeypatch):
    worker = OneWorker(valkey, monkeypatch)
    monkeypatch.setattr(access_tokens, "FETCH_S", FETCH_S)
    monkeypatch.setattr(access_tokens, "FIRST_PAUSE_S", 60.0)
    yield worker
    worker.close()


def test_a_login_that_hangs_holds_no_task_of_a_message_and_ends_the_calls_that_need_it(worker):
    with receiver(never_answers) as login, receiver(json_answer({"ok": True})) as endpoint:
        hook = {"url": endpoint.url, "method": "POST"}
        auth = {**CREDENTIALS, "tokenUrl": login.url}
        worker.register({"id": "guarded", **hook, "auth": auth}, {"id": "plain", **hook})
        began_s = time.monotonic()
        refs = [worker.trigger("guarded", {"n": number})[0] for number in range(6)]
        worker.executor.run_waiting(("bulk",), 0)  # as a Celery task does
        plain = worker.trigger("plain", {"n": 1})
        worker.executor.run_waiting(("bulk",), 0)
        assert time.monotonic() - began_s < FETCH_S
        worker.run_to_the_end([*refs, *plain])
        records = [worker.record(ref) for ref in refs]
    assert worker.record(plain[0]).state is State.DELIVERED
    assert {(record.state, record.outcome) for record in records} == {(State.UNREACHABLE, Outcome.CONNECT_TIMEOUT)}
    assert len(login.requests) == 1
    assert len(endpoint.requests) == 1
    assert worker.leftovers() == {}
