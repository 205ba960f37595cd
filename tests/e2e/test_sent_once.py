"""An endpoint that hangs up after reading a request gets each call at most once, and callers get the true outcome.

The trap: when a kept-alive connection dies before the answer begins, libcurl itself repeats the request, even a POST.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pycurl
import pytest

from tests.receivers import answers_once_then_hangs_up, receiver

CALLERS = 8
CALLS = 240
BODIES = {"no body": {}, "body": {"data": {"n": 1}}, "large body": {"data": "x" * 200_000}}


@pytest.fixture(scope="module")
def plugin(harness):
    traps = {"fin": harness.trap, "rst": harness.reset_trap}
    webhooks = [
        {"id": f"{method.lower()}-{name}", "url": trap.url, "method": method}
        for name, trap in traps.items()
        for method in ("POST", "PATCH", "PUT", "DELETE")
    ]
    return harness.plugin("once", webhooks)


def calls_to(plugin, webhook_id, given, count):
    """Make ``count`` calls by several callers at once; return the bodies of the answers."""
    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(lambda _: plugin.trigger(webhook_id, given), range(count)))
    assert {each.status_code for each in answers} == {200}
    return [each.json() for each in answers]


def test_libcurl_by_itself_falls_into_the_trap():
    """Otherwise the tests below would prove nothing."""
    with receiver(answers_once_then_hangs_up()) as trap:
        easy = pycurl.Curl()
        easy.setopt(pycurl.URL, trap.url)
        easy.setopt(pycurl.WRITEFUNCTION, lambda _: None)
        for index in range(2):
            easy.setopt(pycurl.HTTPHEADER, [f"webhook-id: ref-{index}"])
            easy.setopt(pycurl.POSTFIELDS, "{}")
            easy.perform()
        assert trap.receipts == {"ref-0": 1, "ref-1": 2}


@pytest.mark.parametrize(
    ("trap_name", "body"),
    [("fin", "no body"), ("fin", "body"), ("fin", "large body"), ("rst", "no body"), ("rst", "body")],
)
def test_every_post_is_received_at_most_once_and_the_caller_is_told_the_truth(harness, plugin, trap_name, body):
    trap = harness.trap if trap_name == "fin" else harness.reset_trap
    answers = {each["referenceId"]: each for each in calls_to(plugin, f"post-{trap_name}", BODIES[body], CALLS)}
    assert len(answers) == CALLS
    received = [each for each in list(trap.requests) if each.header("webhook-id") in answers]

    assert set(Counter(each.header("webhook-id") for each in received).values()) == {1}
    answered = {each.header("webhook-id") for each in received if each.position == 1}
    trapped = {each.header("webhook-id") for each in received if each.position > 1}
    assert len(trapped) > CALLS / 10  # connections were kept alive, so the trap did spring
    for reference_id, answer in answers.items():
        told = (answer["status"], answer["error"], answer["data"])
        if reference_id in answered:
            assert told == (200, False, {"ok": True})
        else:
            assert (told[0], told[1], told[2]["code"], told[2]["sent"]) == (0, True, "unreachable", "maybe")
    # Calls that did not arrive, because the connection died, must not count as answered.
    for reference_id in list(trapped)[:10]:
        record = plugin.record(reference_id)
        (attempt,) = record["attempts"]
        assert (record["state"], attempt["outcome"], attempt["sent"]) == ("unreachable", "connection_lost", "maybe")


@pytest.mark.parametrize("method", ["patch", "put", "delete"])
def test_one_attempt_sends_any_other_method_at_most_once_too(harness, plugin, method):
    answers = calls_to(plugin, f"{method}-fin", {}, 40)
    references = {each["referenceId"] for each in answers}
    received = [each for each in list(harness.trap.requests) if each.header("webhook-id") in references]
    assert set(Counter(each.header("webhook-id") for each in received).values()) == {1}
    assert any(each.position > 1 for each in received)


def test_many_asynchronous_posts_are_each_received_at_most_once(harness, plugin):
    items = [{"webhookId": "post-rst", "data": {"n": number}} for number in range(400)]
    entries = plugin.call("POST", "/v1/triggers", json=items).json()["results"]
    states = Counter(plugin.record(entry["referenceId"], wait_s=30)["state"] for entry in entries)
    assert set(states) <= {"delivered", "unreachable"}
    receipts = harness.reset_trap.receipts
    counts = Counter(receipts[entry["referenceId"]] for entry in entries)
    assert set(counts) <= {0, 1}
    answered = {each.header("webhook-id") for each in list(harness.reset_trap.requests) if each.position == 1}
    assert states["delivered"] == sum(entry["referenceId"] in answered for entry in entries)
