import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from relay.domain.invocation import Outcome, State
from tests.store_keys import KEYS
from tests.timing import BUSY_S


def problem(answer, status, code, also=()):
    """Check what every problem document must have, and that it has no members but ``also``; return the document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    document = answer.json()
    needed = {"type", "title", "status", "detail", "code"}
    assert needed <= set(document) <= {*needed, "errors", "referenceId", *also}
    assert all(document[each] for each in needed)
    assert (document["status"], document["code"]) == (status, code)
    for each in document.get("errors", []):
        assert set(each) == {"pointer", "message"}
        assert code == "bad_parameter" or each["pointer"] == "" or each["pointer"].startswith("/")
    assert ("Retry-After" in answer.headers) == (status in {429, 503})
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    return document


def test_an_awaited_trigger_is_answered_with_exactly_the_four_members(api):
    with api.hand_worker(data={"big": 2**80, "text": "é"}) as messages:
        answer = api.trigger(body={"data": {"a": 1}})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert body == {"referenceId": messages[0][0], "status": 200, "data": {"big": 2**80, "text": "é"}, "error": False}
    assert list(body) == ["referenceId", "status", "data", "error"]
    assert "Preference-Applied" not in answer.headers


def test_an_endpoint_that_answers_with_an_error_is_a_success_of_the_trigger(api):
    with api.hand_worker(status=500, data="broken"):
        answer = api.trigger()
    assert answer.status_code == 200
    assert {**answer.json(), "referenceId": 0} == {"referenceId": 0, "status": 500, "data": "broken", "error": True}


def test_an_endpoint_that_cannot_be_contacted_is_a_success_with_a_coarse_code(api):
    with api.hand_worker(status=0, outcome=Outcome.DNS_FAILED, state=State.UNREACHABLE):
        answer = api.trigger()
    assert answer.status_code == 200
    message = "The endpoint could not be contacted; nothing was sent."
    assert answer.json()["data"] == {"code": "unreachable", "message": message, "sent": "no"}
    assert (answer.json()["status"], answer.json()["error"]) == (0, True)


def test_a_result_too_large_for_a_notice_arrives_whole(api):
    with api.hand_worker(data="x" * 300_000):
        assert api.trigger().json()["data"] == "x" * 300_000


def test_a_trigger_that_is_not_awaited_is_accepted_at_once_on_the_bulk_lane(api):
    answer = api.trigger(prefer="respond-async")
    assert answer.status_code == 202
    body = answer.json()
    assert list(body) == ["referenceId", "state"]
    assert body["state"] == "queued"
    assert answer.headers["Location"] == f"/v1/invocations/{body['referenceId']}"
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert api.taken(["bulk"]) == [body["referenceId"]]


@pytest.mark.parametrize(
    ("prefer", "applied"), [("wait=1", "wait=1"), ("respond-async, wait=1", "respond-async, wait=1")]
)
def test_a_wait_that_ends_without_a_result_is_a_202_within_the_asked_time(api, prefer, applied):
    began_s = time.monotonic()
    answer = api.trigger(prefer=prefer)
    waited_s = time.monotonic() - began_s
    assert answer.status_code == 202
    assert 0.9 <= waited_s < 1 + BUSY_S
    assert answer.headers["Preference-Applied"] == applied
    assert answer.json() == {"referenceId": api.taken(["interactive"])[0], "state": "queued"}


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0", "wait=1", "respond-async, wait=1"])
@pytest.mark.parametrize("is_repeat", [False, True])
def test_every_202_says_where_the_result_will_be_and_when_to_look(api, prefer, is_repeat):
    headers = {"Idempotency-Key": f"where-{prefer.replace(', ', '+')}"} if is_repeat else {}
    refs = {api.trigger(prefer=prefer, headers=headers).json()["referenceId"]} if is_repeat else set()
    answer = api.trigger(prefer=prefer, headers=headers)
    refs.add(answer.json()["referenceId"])
    (ref,) = refs
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/invocations/{ref}")
    assert answer.headers["Preference-Applied"] == prefer
    about = {name: answer.headers[name] for name in ("Retry-After", "Cache-Control", "Content-Type")}
    assert about == {"Retry-After": "1", "Cache-Control": "no-store", "Content-Type": "application/json"}
    with api.hand_worker(data=1):
        ended = api.trigger()
    assert not {"Location", "Retry-After"} & ended.headers.keys()


def test_the_state_of_a_202_is_the_state_at_that_time(api):
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(api.trigger, prefer="wait=1")
        (ref,) = api.taken()
        api.store.claim([ref], "t1")
        assert waiting.result().json() == {"referenceId": ref, "state": "sending"}


def test_a_result_in_time_wins_over_respond_async_when_both_are_asked(api):
    with api.hand_worker(data=1):
        answer = api.trigger(prefer="respond-async, wait=5")
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=5")


@pytest.mark.parametrize("prefer", ["wait=soon", ",;=", "return=minimal", "x" * 3000])
def test_a_preference_that_cannot_be_read_never_fails_a_request(api, prefer):
    with api.hand_worker(data=1):
        answer = api.trigger(prefer=prefer)
    assert answer.status_code == 200
    assert "Preference-Applied" not in answer.headers


@pytest.mark.parametrize(
    ("ending", "status", "code"),
    [
        ({"state": State.REJECTED, "outcome": Outcome.REQUEST_REJECTED}, 422, "request_rejected"),
        ({"state": State.REJECTED, "outcome": Outcome.WEBHOOK_NOT_REGISTERED}, 404, "webhook_not_registered"),
    ],
)
def test_an_awaited_invocation_that_ends_rejected_is_a_problem_as_at_the_door(api, ending, status, code):
    with api.hand_worker(**ending) as messages:
        document = problem(api.trigger(), status, code)
    assert document["referenceId"] == messages[0][0]


def test_an_awaited_invocation_that_is_cancelled_is_a_409(api):
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(api.trigger)
        (ref,) = api.taken()
        api.store.cancel(ref)
        assert problem(waiting.result(), 409, "cancelled")["referenceId"] == ref


def test_what_does_not_fit_is_named_field_by_field_and_leaves_a_record(api):
    answer = api.trigger(body={"headers": {"X-Other": "1"}, "queryParams": {"page": 1}})
    document = problem(answer, 422, "request_rejected")
    assert {error["pointer"] for error in document["errors"]} == {"/headers/X-Other", "/queryParams/page"}
    assert all(set(error) == {"pointer", "message"} for error in document["errors"])
    assert api.store.get("acme", document["referenceId"]).state is State.REJECTED


def test_the_same_idempotency_key_is_the_same_invocation_whatever_is_preferred(api):
    headers = {"Idempotency-Key": "same-1"}
    first = api.trigger(headers=headers, prefer="respond-async")
    again = api.trigger(headers=headers, prefer="respond-async")
    assert (again.status_code, again.json()) == (202, first.json())
    assert api.taken() == [first.json()["referenceId"]]
    assert api.queue.llen("bulk") == 0


def test_a_repeat_of_an_unfinished_invocation_waits_for_its_end(api):
    headers = {"Idempotency-Key": "joined-1"}
    first = api.trigger(headers=headers, prefer="respond-async").json()["referenceId"]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(api.trigger, headers=headers)
        time.sleep(0.3)
        api.settle([first], data="joined")
        assert waiting.result().json() == {"referenceId": first, "status": 200, "data": "joined", "error": False}


def test_a_repeat_of_a_finished_invocation_is_its_stored_result_at_once(api):
    headers = {"Idempotency-Key": "finished-1"}
    first = api.trigger(headers=headers, prefer="respond-async").json()["referenceId"]
    api.settle([first], data="stored")
    began_s = time.monotonic()
    assert api.trigger(headers=headers, prefer="wait=40", timeout=60).json()["data"] == "stored"
    assert time.monotonic() - began_s < 30
    again = api.trigger(headers=headers, prefer="respond-async")
    assert (again.status_code, again.json()["state"]) == (202, "delivered")


def test_a_repeat_of_an_invocation_whose_record_is_damaged_says_so(api):
    headers = {"Idempotency-Key": "damaged-1"}
    first = api.trigger(headers=headers, prefer="respond-async").json()["referenceId"]
    api.settle([first], data="stored")
    api.queue.hset(KEYS.record(first), "status", "planted")
    assert problem(api.trigger(headers=headers), 500, "internal")["referenceId"] == first


def test_the_same_idempotency_key_with_another_trigger_is_refused(api):
    headers = {"Idempotency-Key": "reused-1"}
    api.trigger(headers=headers, prefer="respond-async")
    answer = api.trigger(headers=headers, body={"data": "other"}, prefer="respond-async")
    assert "referenceId" in problem(answer, 422, "idempotency_key_reused")


@pytest.mark.parametrize("key", ["", "with blank", "x" * 256])
def test_a_malformed_idempotency_key_is_a_bad_parameter(api, key):
    problem(api.trigger(headers={"Idempotency-Key": key}), 400, "bad_parameter")


def test_a_trace_is_carried_if_it_is_one(api):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for header, kept in ((trace, trace), ("00-garbage", None), ("ff" + trace[2:], None)):
        answer = api.trigger(headers={"traceparent": header}, prefer="respond-async")
        assert api.store.get("acme", answer.json()["referenceId"]).traceparent == kept


def test_as_many_callers_of_a_webhook_wait_as_may_and_the_others_are_answered_without_waiting(api):
    ended = api.trigger(headers={"Idempotency-Key": "before-all"}, prefer="respond-async").json()["referenceId"]
    api.settle(api.taken(), data="before")
    with ThreadPoolExecutor(64) as pool:
        calls = [pool.submit(api.trigger, prefer="wait=60", timeout=90) for _ in range(64)]
        refs = []
        while len(refs) < len(calls):
            refs += api.taken(["interactive", "bulk"])
        asked_s = time.monotonic()
        surplus = api.trigger(prefer="wait=60", timeout=90)
        assert time.monotonic() - asked_s < 30
        assert (surplus.status_code, "Preference-Applied" in surplus.headers) == (202, False)
        assert api.call("GET", "/healthz").status_code == 200
        # What has ended needs no room: its result is what was waited for.
        for answer in (
            api.trigger(headers={"Idempotency-Key": "before-all"}, prefer="wait=60", timeout=90),
            api.call("GET", f"/v1/invocations/{ended}", headers={"Prefer": "wait=60"}),
        ):
            assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=60")
            assert answer.json().get("result", answer.json())["data"] == "before"
        unended = api.call("GET", f"/v1/invocations/{refs[0]}", headers={"Prefer": "wait=60"}, timeout=90)
        assert (unended.json()["state"], "Preference-Applied" in unended.headers) == ("queued", False)
        assert time.monotonic() - asked_s < 40
        api.settle(refs, data="at last")
        answers = [each.result() for each in calls]
    waited = [answer for answer in answers if answer.status_code == 200]
    assert {answer.json()["data"] for answer in waited} == {"at last"}
    assert 64 * 4 // 5 <= len(waited) < 64  # room for other webhooks is left (relay.domain.shares)
    assert {"Preference-Applied" in answer.headers for answer in answers if answer not in waited} == {False}


def test_under_load_messages_carry_several_ids_and_every_caller_gets_its_own_answer(api):
    with ThreadPoolExecutor(48) as pool, api.hand_worker(data="ok") as messages:
        answers = list(pool.map(lambda _: api.trigger(), range(480)))
    assert {answer.status_code for answer in answers} == {200}
    ids = [answer.json()["referenceId"] for answer in answers]
    assert sorted(ids) == sorted(ref for message in messages for ref in message)
    assert max(len(message) for message in messages) > 1
    assert max(len(message) for message in messages) <= 128


def test_when_idle_a_message_carries_one_id(api):
    with api.hand_worker(data="ok") as messages:
        for _ in range(5):
            assert api.trigger().status_code == 200
    assert [len(message) for message in messages] == [1] * 5
