"""How the Python clients' calls go on: their flows on a clock that steps, with answers that a test gives."""

from __future__ import annotations

import itertools
import json
import random

import pytest

from relay import errors
from relay.client import bulk
from relay.client.copies import copy_trigger
from relay.client.exchange import Answer, End, Request, Requester, advance
from relay.client.flows import Flows, WaitEnded

REF = "01a22681-27be-74b3-8241-93ca9c8d6835"
UNFINISHED = Answer(200, {"referenceId": REF, "state": "sending", "result": None})
FINAL = Answer(
    200,
    {"referenceId": REF, "state": "delivered", "result": {"status": 200, "data": 1, "error": False}, "attempts": []},
)
LOST = OSError("lost")


def busy(status=503, retry_after_s=None):
    return Answer(status, {"code": "unavailable"}, retry_after_s)


class Course:
    """A flow's course on a clock that moves only while it pauses or is answered; request n, from 0, as ``respond`` says.

    ``respond`` returns an answer, or how many seconds it takes, and the answer.
    """

    def __init__(self, respond, *, tries=6):
        self.now_s, self.respond = 0.0, respond
        self.sent: list[tuple[float, Request]] = []
        self.flows = Flows(Requester("https://relay.example", "whk_a_b", tries, lambda: self.now_s), 960)

    def run(self, name, *given):
        flow, came = getattr(self.flows, name)(*given), None
        while not isinstance(step := advance(flow, came), End):
            if not isinstance(step, Request):
                self.now_s, came = self.now_s + step, None
                continue
            self.sent.append((self.now_s, step))
            found = self.respond(len(self.sent) - 1)
            took_s, came = found if isinstance(found, tuple) else (0, found)
            self.now_s += took_s
        return step.result

    def gaps(self):
        at = [now_s for now_s, _ in self.sent]
        return [later - earlier for earlier, later in itertools.pairwise(at)]


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)


def test_polls_that_a_relay_without_room_answers_at_once_are_made_less_and_less_often():
    course = Course(lambda n: UNFINISHED if n < 8 else FINAL)
    assert course.run("wait", REF, None)["status"] == 200
    assert course.gaps() == [0.25, 0.5, 1, 2, 4, 5, 5, 5]


@pytest.mark.parametrize(("held_s", "pauses"), [(30, False), (15, False), (14.9, True)])
def test_a_poll_that_was_held_for_long_is_followed_by_the_next_at_once(held_s, pauses):
    course = Course(lambda n: (held_s, UNFINISHED if n < 2 else FINAL))
    course.run("wait", REF, None)
    assert course.gaps() == pytest.approx([held_s + 0.25, held_s + 0.5] if pauses else [held_s, held_s])


@pytest.mark.parametrize("timeout_s", [0, 0.5, 3, 20, 100])
def test_a_wait_ends_in_time_and_asks_for_no_more_than_is_left(timeout_s):
    course = Course(lambda _: UNFINISHED)
    with pytest.raises(WaitEnded):
        course.run("wait", REF, timeout_s)
    assert course.now_s == timeout_s
    asked = [int(each.headers.get("Prefer", "wait=0").removeprefix("wait=")) for _, each in course.sent]
    assert asked == [min(30, int(timeout_s - at_s)) for at_s, _ in course.sent]
    for at_s, each in course.sent:
        left_s = timeout_s - at_s + 1
        assert (each.connect_timeout_s, each.read_timeout_s) == (min(5, left_s), min(45, left_s))


@pytest.mark.parametrize("tries", [1, 2, 6, 9])
@pytest.mark.parametrize("came", [busy(), busy(429), busy(502), busy(504), LOST])
def test_what_the_relay_does_not_answer_now_is_tried_so_often_with_pauses_that_double(came, tries):
    course = Course(lambda _: came, tries=tries)
    with pytest.raises(errors.RelayError):
        course.run("get", REF, None)
    assert course.gaps() == [0.25, 0.5, 1, 2, 4, 5, 5, 5][: tries - 1]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("asked_s", "tries"), [(0, 6), (1, 6), (30, 6), (31, 1), (3_600, 1)])
def test_a_time_to_come_again_is_kept_or_told(status, asked_s, tries):
    course = Course(lambda _: busy(status, asked_s))
    with pytest.raises(errors.RelayError):
        course.run("get", REF, None)
    assert course.gaps() == [asked_s + 0.25] * (tries - 1)


@pytest.mark.parametrize(("timeout_s", "tries"), [(1.24, 1), (1.25, 2), (2.49, 2), (2.5, 3)])
def test_a_try_that_could_begin_only_after_the_deadline_is_not_made(timeout_s, tries):
    course = Course(lambda _: busy(retry_after_s=1))
    with pytest.raises(errors.RelayError):
        course.run("get", REF, timeout_s)
    assert len(course.sent) == tries


@pytest.mark.parametrize("trouble", [busy(), LOST])
def test_a_second_trouble_within_one_wait_has_all_its_tries(trouble):
    course = Course(lambda n: FINAL if n == 12 else trouble if n not in (0, 6) else UNFINISHED)
    assert course.run("wait", REF, None)["status"] == 200
    assert len(course.sent) == 13


def test_a_trigger_and_its_wait_share_one_deadline():
    course = Course(lambda n: (20, Answer(202, {"referenceId": REF, "state": "queued"}) if n == 0 else UNFINISHED))
    with pytest.raises(WaitEnded) as raised:
        course.run("trigger", "hook", copy_trigger(None), 50, "key-1")
    assert (raised.value.reference_id, raised.value.idempotency_key) == (REF, "key-1")
    assert [each.headers["Prefer"] for _, each in course.sent] == ["wait=30", "wait=30", "wait=10"]


@pytest.mark.parametrize(("outcomes", "revision", "kind"), [
    (["webhook_not_registered"], 1, errors.WebhookNotRegistered),
    (["connect_failed", "webhook_not_registered"], 1, errors.WebhookNotRegistered),
    (["webhook_not_registered", "request_rejected"], 1, errors.RequestRejected),
    (["connect_failed", "request_rejected"], 1, errors.RequestRejected),
    ([], 1, errors.RequestRejected),
    ([], None, errors.WebhookNotRegistered),
])  # fmt: skip
def test_why_a_call_was_rejected_is_told_by_its_last_attempt(outcomes, revision, kind):
    attempts = [{"number": number, "outcome": outcome} for number, outcome in enumerate(outcomes, 1)]
    record = {"referenceId": REF, "state": "rejected", "result": None, "attempts": attempts, "revision": revision}
    with pytest.raises(errors.RelayError) as raised:
        Course(lambda _: Answer(200, record)).run("wait", REF, None)
    assert (type(raised.value), raised.value.reference_id) == (kind, REF)


#: What becomes of a group of items: each is taken, each is refused, or a fault of the whole group.
ENDS = {"taken": {"referenceId": REF, "state": "queued"}, "refused": {"problem": {"code": "request_rejected"}}}


@pytest.mark.parametrize("ends", list(itertools.product(["taken", "refused", "fault"], repeat=3)), ids=",".join)
def test_a_fault_of_a_group_is_raised_unless_an_item_of_an_earlier_one_was_taken(monkeypatch, ends):
    monkeypatch.setattr(bulk, "GROUP_ITEMS", 2)

    def respond(number):
        if ends[number] == "fault":
            return Answer(500, {"code": "internal"})
        return Answer(200, {"results": [ENDS[ends[number]]] * len(json.loads(course.sent[-1][1].body))})

    course = Course(respond)
    call = ("trigger_many", bulk.copy_items([{"webhookId": "ok"}] * 5), None)
    sizes, before = [2, 2, 1], list(itertools.takewhile("fault".__ne__, ends))
    results = [ENDS[end] for end, size in zip(before, sizes, strict=False) for _ in range(size)]
    if len(before) < 3 and "taken" not in before:
        with pytest.raises(errors.Internal):
            course.run(*call)
    else:
        found = course.run(*call)
        assert found[: len(results)] == results
        assert [each["problem"]["code"] for each in found[len(results) :]] == ["internal"] * (5 - len(results))
    assert len(course.sent) == min(3, len(before) + 1)
