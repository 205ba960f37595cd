"""One accept path: the answer to a trigger does not depend on whether its caller waits, and a wait is one wake-up."""

import threading

import pytest

from tests.integration.api_harness import own_api
from tests.integration.test_api_triggers import problem
from tests.store_keys import KEYS
from tests.timing import wait_until


@pytest.mark.parametrize("prefer", ["wait=5", "respond-async", None])
def test_what_is_refused_is_refused_alike_whether_somebody_waits_or_not(api, prefer):
    problem(api.trigger("nothing", prefer=prefer), 404, "webhook_not_registered")
    problem(api.trigger(body={"headers": {"X-Nobody": "1"}}, prefer=prefer), 422, "request_rejected")
    problem(api.trigger(prefer=prefer, headers={"Idempotency-Key": "a b"}), 400, "bad_parameter")
    key = {"Idempotency-Key": f"refused-{prefer}"}
    assert api.trigger(body={"data": "1"}, prefer="respond-async", headers=key).status_code == 202
    problem(api.trigger(body={"data": "2"}, prefer=prefer, headers=key), 422, "idempotency_key_reused")


@pytest.mark.parametrize("prefer", ["wait=5", "respond-async"])
def test_a_change_of_the_registration_under_a_trigger_is_no_fault(api, prefer):
    """The API caches the old revision for a moment: the store reports that it is stale, and the API reads it again."""
    api.register("acme", '{id: "turning", url: "https://hook.example.com/0", method: "POST"}')
    with api.hand_worker(data="done"):
        for number in range(1, 8):
            assert api.trigger("turning", prefer=prefer).status_code in {200, 202}
            api.register("acme", f'{{id: "turning", url: "https://hook.example.com/{number}", method: "POST"}}')


def test_a_repeat_waits_for_the_end_of_the_first(api):
    key = {"Idempotency-Key": "one-and-the-same"}
    first = api.trigger(body={"data": "x"}, prefer="respond-async", headers=key).json()["referenceId"]
    answers = []

    def repeat():
        answers.append(api.trigger(body={"data": "x"}, prefer="wait=8", headers=key))

    callers = [threading.Thread(target=repeat) for _ in range(4)]
    for caller in callers:
        caller.start()
    with api.hand_worker(delay_s=0.3, data="done"):
        for caller in callers:
            caller.join()
    assert {(answer.status_code, answer.json()["referenceId"]) for answer in answers} == {(200, first)}
    assert api.trigger(body={"data": "x"}, prefer="wait=8", headers=key).json()["data"] == "done"


@pytest.fixture
def tight():
    """An API that holds at most two large bodies of a mebibyte."""
    with own_api(threads=32, RELAY_MAX_PARSING_BYTES="2MiB") as harness:
        yield harness


def test_an_awaited_large_body_is_in_hand_only_until_it_is_accepted(tight):
    body = {"data": "x" * (1024 * 1024 - 100)}
    answers = []

    def call():
        answers.append(tight.trigger(body=body, prefer="wait=6").status_code)

    def accepted():
        return int(tight.queue.hget(KEYS.pending(), "count") or 0)

    callers = [threading.Thread(target=call) for _ in range(6)]
    for count, caller in enumerate(callers, 1):
        caller.start()
        wait_until(lambda count=count: accepted() == count)
    for caller in callers:
        caller.join()
    assert answers == [202] * 6
