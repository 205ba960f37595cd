"""How the Python clients' calls go on: their flows on a clock that steps, with answers that a test gives."""

from __future__ import annotations

import io
import itertools
import json
import random
from contextlib import nullcontext, suppress

import pytest

from relay import errors
from relay.client import bulk
from relay.client.copies import copy_trigger
from relay.client.exchange import Answer, End, Request, Requester, advance
from relay.client.flows import RESULT_MEMBERS, Flows, WaitEnded
from relay.client.frozen import LARGE_BYTES
from relay.domain.invocation import State

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

    def __init__(self, respond, *, tries=6, timeout_s=960):
        self.now_s, self.respond = 0.0, respond
        self.sent: list[tuple[float, Request]] = []
        self.flows = Flows(Requester("https://relay.example", "whk_a_b", tries, lambda: self.now_s), timeout_s)

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


def described(**more):
    empty = {"id": "hook", "description": None, "dataSchema": None, "headers": [], "queryParams": []}
    return Answer(200, empty | {"payloadEncoding": None} | more)


def willing(course, number, **takes):
    """Answer any request as a relay does that takes all; each request takes a second."""
    request = course.sent[number][1]
    if request.method == "GET" and "/webhooks/" in request.url:
        return 1, described(**takes)
    if request.url.endswith("/v1/triggers"):
        return 1, Answer(200, {"results": [ENDS["taken"]] * len(json.loads(request.body))})
    if request.method == "POST":
        result = {"referenceId": REF, "state": "queued", "status": 200, "data": 1, "error": False}
        return 1, Answer(200, result)
    return 1, Answer(200, {"webhooks": []}) if request.url.endswith("/webhooks") else FINAL


def calls(timeout_s):
    """Every call with this timeout; those that have data have bytes, so that the webhook is looked up first."""
    yield from ((name, "hook", copy_trigger(b"a"), timeout_s, "key-1") for name in ("trigger", "trigger_async"))
    yield "trigger_many", bulk.copy_items([{"webhookId": "hook", "data": b"a"}] * 3), timeout_s
    yield "available", timeout_s
    yield from ((name, "hook", timeout_s) for name in ("describe", "get", "wait"))


@pytest.mark.parametrize(("own_s", "usual_s"), [(3, 960), (None, 3), (0, 960)])
@pytest.mark.parametrize("number", range(7))
def test_every_request_of_a_call_is_made_within_the_call_s_own_time(monkeypatch, number, own_s, usual_s):
    monkeypatch.setattr(bulk, "GROUP_ITEMS", 2)
    course = Course(lambda n: willing(course, n, payloadEncoding="base64"), timeout_s=usual_s)
    name, *given = list(calls(own_s))[number]
    course.run(name, *given)
    assert [each.method for _, each in course.sent] == {
        "trigger": ["GET", "POST"], "trigger_async": ["GET", "POST"], "trigger_many": ["GET", "POST", "POST"]
    }.get(name, ["GET"])  # fmt: skip
    for at_s, request in course.sent:
        begun_s = at_s if name == "trigger_many" else 0  # of which each group has all the time
        left_s = max((usual_s if own_s is None else own_s) + begun_s - at_s, 0)
        assert (request.connect_timeout_s, request.read_timeout_s) == (min(5, left_s + 1), min(45, left_s + 1))


@pytest.mark.parametrize("tries", [1, 0, -1])
def test_a_request_is_sent_at_least_once(tries):
    course = Course(lambda _: FINAL, tries=tries)
    assert course.run("get", REF, None)["state"] == "delivered"
    assert "Prefer" not in course.sent[0][1].headers


@pytest.mark.parametrize("before", [[described()], [busy()] * 6, [described(), LOST, described()]], ids=len)
def test_a_webhook_is_asked_again_what_it_takes_until_it_takes_that_and_then_no_more(before):
    answers = iter([*before, described(payloadEncoding="base64")])
    course = Course(lambda n: next(answers) if course.sent[n][1].method == "GET" else willing(course, n))
    call = ("trigger", "hook", copy_trigger(b"a"), None, None)
    refused = 0
    while course.sent == [] or course.sent[-1][1].method == "GET":
        try:
            course.run(*call)
        except errors.RelayError:
            refused += 1
    assert refused == {1: 1, 6: 1, 3: 2}[len(before)]
    course.run(*call)
    assert [each.method for _, each in course.sent] == ["GET"] * (len(before) + 1) + ["POST"] * 2


@pytest.mark.parametrize("missing", ["id", "description", "dataSchema", "headers", "queryParams", "payloadEncoding"])
def test_a_description_without_a_member_cannot_be_read(missing):
    document = {name: value for name, value in described().document.items() if name != missing}
    with pytest.raises(errors.Internal):
        Course(lambda _: Answer(200, document)).run("describe", "hook", None)


@pytest.mark.parametrize("order", list(itertools.permutations(["file", "text", "other"])), ids=",".join)
def test_members_of_data_are_sent_in_their_order_with_files_among_them(order):
    course = Course(lambda n: willing(course, n, payload="multipart"))
    values = {"file": io.BytesIO(b"a"), "text": "t", "other": io.BytesIO(b"b")}
    course.run("trigger", "hook", copy_trigger({name: values[name] for name in order}), None, None)
    assert list(json.loads(course.sent[-1][1].body)["data"]) == list(order)


def test_no_bytes_are_bytes_too():
    course = Course(lambda n: willing(course, n, payloadEncoding="base64"))
    course.run("trigger", "hook", copy_trigger(b""), None, None)
    assert [json.loads(each.body) for _, each in course.sent if each.body] == [{"data": ""}]


LONG = 2 * LARGE_BYTES


@pytest.mark.parametrize(
    "data",
    [
        *(bytes(LONG), bytearray(LONG), memoryview(bytes(LONG)), "x" * LONG, [0] * LONG, {"x" * LONG: 1}),
        *({str(number): None for number in range(LONG)}, {"file": io.BytesIO(bytes(LONG))}),
    ],
    ids=lambda data: type(data).__name__,
)
def test_what_is_long_is_known_to_be(data):
    assert copy_trigger(data).size_bytes > LARGE_BYTES > copy_trigger({"a": 1}).size_bytes


def test_a_memoryview_that_was_released_is_refused():
    view = memoryview(b"a")
    view.release()
    given = {
        "": copy_trigger(view),
        "/1": bulk.copy_items([{"webhookId": "ok", "data": each} for each in (b"a", view)]),
    }
    for place, copy in given.items():
        with pytest.raises(errors.RequestRejected, match=f" {place}/data: is a memoryview that was released"):
            copy.checked()


@pytest.mark.parametrize("at", range(3))
def test_an_item_that_is_too_large_alone_was_not_accepted_and_has_no_key(at):
    def respond(number):
        items = json.loads(course.sent[number][1].body)
        large = any(item["webhookId"] == "large" for item in items)
        return Answer(413, {"code": "too_large"}) if large else willing(course, number)

    course = Course(respond)
    results = course.run(
        "trigger_many", bulk.copy_items([{"webhookId": "large" if n == at else "ok"} for n in range(3)]), None
    )
    assert [result.get("problem", {}).keys() for result in results] == [
        {"code", "detail"} if n == at else set() for n in range(3)
    ]


@pytest.mark.parametrize("missing", ["referenceId", "state", "result"])
@pytest.mark.parametrize("name", ["get", "wait"])
def test_a_record_without_a_member_cannot_be_read(name, missing):
    record = {key: value for key, value in FINAL.document.items() if key != missing}
    with pytest.raises(errors.Internal):
        Course(lambda _: Answer(200, record)).run(name, REF, None)


@pytest.mark.parametrize("result", [None, {}, {"status": 200, "data": 1}])
def test_a_result_that_cannot_be_read_is_that_of_a_call_that_is_named(result):
    came = [Answer(202, {"referenceId": REF, "state": "queued"}), Answer(200, FINAL.document | {"result": result})]
    with pytest.raises(errors.Internal) as raised:
        Course(lambda number: came[number]).run("trigger", "ok", copy_trigger({}), None, "key-1")
    assert (raised.value.reference_id, raised.value.idempotency_key) == (REF, "key-1")
    with pytest.raises(errors.Internal) as raised:
        Course(lambda _: came[1]).run("wait", REF, None)
    assert raised.value.reference_id == REF


@pytest.mark.parametrize(("name", "prefer"), [("get", None), ("wait", "wait=30")])
def test_a_record_is_got_as_it_is_now_and_waited_for_only_if_that_is_wanted(name, prefer):
    course = Course(lambda _: FINAL)
    course.run(name, REF, None)
    assert [request.headers.get("Prefer") for _, request in course.sent] == [prefer]


@pytest.mark.parametrize(("status", "is_read"), [(199, False), (200, True), (299, True), (300, False), (304, False)])
def test_only_a_success_is_read(status, is_read):
    course = Course(lambda _: Answer(status, FINAL.document))
    with nullcontext() if is_read else pytest.raises(errors.Internal):
        assert course.run("get", REF, None) == FINAL.document
    assert len(course.sent) == 1


@pytest.mark.parametrize("state", State)
def test_a_wait_goes_on_while_the_state_is_not_a_final_one(state):
    result = {"status": 200, "data": 1, "error": False} if state.final else None
    course = Course(lambda n: FINAL if n else Answer(200, {"referenceId": REF, "state": state, "result": result}))
    with suppress(errors.Cancelled, errors.RequestRejected):
        course.run("wait", REF, None)
    assert len(course.sent) == (1 if state.final else 2)


#: Answers of which no member may be missing, by the call that reads them.
READ = {
    "available": ((None,), Answer(200, {"webhooks": []})),
    "trigger": (("ok", copy_trigger({}), None, None), Answer(200, dict.fromkeys(RESULT_MEMBERS))),
    "trigger_async": (("ok", copy_trigger({}), None, None), Answer(202, {"referenceId": REF, "state": "queued"})),
    "trigger_many": ((bulk.copy_items([{"webhookId": "ok"}]), None), Answer(202, {"results": [{}]})),
}


@pytest.mark.parametrize(
    ("name", "missing"),
    [(name, member) for name, (_, answer) in READ.items() for member in (None, *answer.document)],
)
def test_an_answer_without_a_member_cannot_be_read(name, missing):
    given, answer = READ[name]
    document = {key: value for key, value in answer.document.items() if key != missing}
    came = Answer(answer.status, document if missing else None)
    with pytest.raises(errors.Internal):
        Course(lambda _: came).run(name, *given)


def test_a_trigger_that_goes_on_without_a_reference_id_cannot_be_read():
    with pytest.raises(errors.Internal):
        Course(lambda _: Answer(202, {"state": "queued"})).run("trigger", "ok", copy_trigger({}), None, None)


def test_each_item_without_a_key_gets_one_of_its_own_in_every_call():
    items = [{"webhookId": "ok"}, {"webhookId": "ok"}, {"webhookId": "ok", "idempotencyKey": None}]
    keys = [item["idempotencyKey"] for _ in range(3) for item in bulk.copy_items(items).checked()]
    assert len(set(keys)) == 9


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_answer_with_another_number_of_results_cannot_be_read(count):
    course = Course(lambda _: Answer(200, {"results": [ENDS["taken"]] * count}))
    with pytest.raises(errors.Internal):
        course.run("trigger_many", bulk.copy_items([{"webhookId": "ok"}] * 2), None)


@pytest.mark.parametrize("call", [("wait", REF, None), ("get", REF, None)])
@pytest.mark.parametrize(("said", "named"), [({}, REF), ({"referenceId": "r-2"}, "r-2"), ({"referenceId": None}, REF)])
def test_an_error_names_the_invocation_that_the_relay_named_or_else_the_one_asked_for(call, said, named):
    with pytest.raises(errors.RelayError) as raised:
        Course(lambda _: Answer(404, {"code": "not_found", **said})).run(*call)
    assert raised.value.reference_id == named


@pytest.mark.parametrize(
    ("base_url", "before"),
    [
        ("https://relay.example", "https://relay.example"),
        ("http://[::1]:8000/a/b", "http://[::1]:8000/a/b"),
        ("https://relay.example/v1/x", "https://relay.example/v1/x"),
    ],
)
def test_the_path_of_the_relay_s_address_is_kept(base_url, before):
    flow = Flows(Requester(base_url, "k", 1, lambda: 0.0), 1).get(REF, None)
    assert advance(flow).url == f"{before}/v1/invocations/{REF}"


@pytest.mark.parametrize("tries", [1, 2, 6, 9])
@pytest.mark.parametrize("came", [busy(), busy(429), busy(502), busy(504), LOST])
def test_what_the_relay_does_not_answer_now_is_tried_so_often_with_pauses_that_double(came, tries):
    course = Course(lambda _: came, tries=tries)
    with pytest.raises(errors.RelayError):
        course.run("get", REF, None)
    assert course.gaps() == [0.25, 0.5, 1, 2, 4, 5, 5, 5][: tries - 1]


def test_a_pause_is_at_least_half_as_long_as_it_may_be_and_what_the_relay_asked_for(monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda low, _high: low)
    for came, gaps in ((LOST, [0.125, 0.25, 0.5, 1, 2]), (busy(retry_after_s=7), [7] * 5)):
        course = Course(lambda _, came=came: came)
        with pytest.raises(errors.Unavailable):
            course.run("get", REF, None)
        assert course.gaps() == gaps
    course = Course(lambda n: UNFINISHED if n < 7 else FINAL)
    course.run("wait", REF, None)
    assert course.gaps() == [0.125, 0.25, 0.5, 1, 2, 2.5, 2.5]


@pytest.mark.parametrize("code", ["rate_limited", "over_capacity", "unavailable", None])
@pytest.mark.parametrize(("asked_s", "tries"), [(0, 6), (1, 6), (30, 6), (31, 1), (3_600, 1)])
def test_a_time_to_come_again_is_kept_and_told(code, asked_s, tries):
    course = Course(lambda _: Answer(503 if code == "unavailable" else 429, code and {"code": code}, asked_s))
    with pytest.raises(errors.Busy) as raised:
        course.run("get", REF, None)
    assert raised.value.retry_after_s == asked_s
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
    keys = tuple(f"k{number}" for number in range(5))
    call = ("trigger_many", bulk.copy_items([{"webhookId": "ok", "idempotencyKey": key} for key in keys]), None)
    sizes, before = [2, 2, 1], list(itertools.takewhile("fault".__ne__, ends))
    results = [ENDS[end] for end, size in zip(before, sizes, strict=False) for _ in range(size)]
    if len(before) < 3 and "taken" not in before:
        with pytest.raises(errors.Internal) as raised:
            course.run(*call)
        assert raised.value.idempotency_keys == keys
    else:
        found = course.run(*call)
        assert found[: len(results)] == results
        assert [each["problem"]["code"] for each in found[len(results) :]] == ["internal"] * (5 - len(results))
    assert len(course.sent) == min(3, len(before) + 1)
