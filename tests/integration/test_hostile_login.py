"""A hostile answer to a chain's login causes no noticeable delay to unrelated calls."""

from __future__ import annotations

import json
import time

import pytest

from relay.chains.secrets import MAX_SECRETS
from relay.domain.invocation import Outcome, State
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import json_answer, raw_answer, receiver
from tests.timing import least

OK = json_answer({"ok": True})
BESIDE = 40  # calls of another plugin, one after the other
SLOWER, NOTICED_S = 4, 1.0  # generous: other work may keep the machine busy

ANSWERS = {
    "30,000 tokens": {"token": [f"token-{number:08}" for number in range(30_000)]},
    "one token of a megabyte": {"token": "t" * (1 << 20)},
    "a megabyte of objects": {
        "token": "a-token-that-is-fine",
        "more": [{"k": "v" * 20, "n": n} for n in range(18_000)],
    },
    "as many as are hidden": {"token": [f"tok+en/{n:03}=" for n in range(MAX_SECRETS)], "echo": "tok+en/001=" * 60_000},
}


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory) as harness:
        harness.start_worker()
        yield harness


def answering(data):
    body = json.dumps(data).encode()

    def script(connection, _request):
        connection.send(raw_answer(200, body, ("Content-Type", "application/json")))

    return script


def longest_s(harness, count):
    """Make ``count`` calls; return the longest duration from trigger to end, in seconds."""
    taken = []
    for _ in range(count):
        began = time.monotonic()
        harness.final(harness.trigger("quick"))
        taken.append(time.monotonic() - began)
    return max(taken)


@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS)
def test_a_hostile_login_costs_another_call_nothing_that_it_would_notice(harness, data):
    with receiver(answering(data)) as login, receiver(OK) as quick:
        harness.register(
            hook(quick.url) | {"id": "quick"},
            hook(login.url, timeout=30) | {"id": "login"},
            {"id": "chain", "steps": [{"webhook": "login", "mask": ["steps[0].data.token"]}, {"webhook": "quick"}]},
        )
        longest_s(harness, BESIDE)  # warm up
        wanted_s, refs = SLOWER * longest_s(harness, BESIDE) + NOTICED_S, []

        def beside_s():
            refs.extend(harness.trigger_many(2, "chain"))
            return longest_s(harness, BESIDE)

        found_s = least(beside_s, wanted=wanted_s)
        records = harness.finals(refs)
    assert found_s <= wanted_s
    fits = (isinstance(data["token"], list) and len(data["token"]) <= MAX_SECRETS) or len(data["token"]) < 100
    assert {record.state for record in records} == {State.DELIVERED if fits else State.UNREACHABLE}
    if not fits:
        login_step = harness.record(records[0].steps[0])
        assert login_step.outcome is Outcome.ANSWER_REJECTED
