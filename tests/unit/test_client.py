"""The Python client, against a fake relay that speaks real HTTP."""

import base64
import contextlib
import itertools
import json
import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from relay import errors
from relay.client.bulk import GROUP_BYTES, groups, write
from relay.client.problem import UnknownProblem
from relay.client.relay import TRIES, Relay, WaitEnded
from tests.receivers import json_answer, make_authority, receiver
from tests.timing import BUSY_S
from tests.unit.fake_relay import KEY, USUAL, Drip, FakeRelay, HangUp, Reply, Silence, Webhook, problem

HUGE = 10**60 + 7


@pytest.fixture
def fake():
    with FakeRelay(ok=Webhook(data={"id": HUGE}), **USUAL) as relay:
        yield relay


@pytest.fixture
def relay(fake):
    with Relay(fake.base_url + "/", KEY) as client:
        yield client


def test_a_trigger_returns_exactly_the_four_documented_members(fake, relay):
    answer = relay.webhooks.trigger("ok", {"a": HUGE}, {"X-Name": "v"}, {"page": 1})

    assert answer == {"referenceId": next(iter(fake.invocations)), "status": 200, "data": {"id": HUGE}, "error": False}
    (seen,) = fake.seen
    assert seen.json == {"data": {"a": HUGE}, "headers": {"X-Name": "v"}, "queryParams": {"page": 1}}
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["prefer"] == "wait=30"


@pytest.mark.parametrize(("webhook_id", "status"), [("fails", 500), ("gone", 0)])
def test_an_endpoint_that_fails_or_cannot_be_contacted_is_an_answer(relay, webhook_id, status):
    answer = relay.webhooks.trigger(webhook_id)
    assert (answer["status"], answer["error"]) == (status, True)


def test_an_unknown_webhook_raises_with_the_reference_id_of_the_record(relay):
    with pytest.raises(errors.WebhookNotRegistered) as raised:
        relay.webhooks.trigger("nobody-knows")
    assert raised.value.code == "webhook_not_registered"
    assert raised.value.reference_id


@pytest.mark.parametrize("webhook_id", ["", ".", "..", "\ud800", "a/b", "/", 5, None, b"ok"])
@pytest.mark.parametrize("call", ["trigger", "trigger_async", "describe"])
def test_an_id_that_cannot_stand_in_a_path_names_no_webhook(fake, relay, call, webhook_id):
    with pytest.raises(errors.WebhookNotRegistered) as raised:
        getattr(relay.webhooks, call)(webhook_id)
    assert ("missing" in raised.value.message) is (webhook_id in {"", None})
    assert not fake.seen


def test_an_id_never_leaves_its_path_segment(fake, relay):
    with pytest.raises(errors.WebhookNotRegistered):
        relay.webhooks.trigger("ok\\..x?y#z%2F +ä")
    assert fake.seen[0].path == "/v1/webhooks/ok%5C..x%3Fy%23z%252F%20%2B%C3%A4/trigger"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "malformed_json", errors.MalformedJson),
        (401, "unauthenticated", errors.Unauthenticated),
        (403, "forbidden", errors.Forbidden),
        (409, "cancelled", errors.Cancelled),
        (409, "conflict", errors.Conflict),
        (410, "expired", errors.Expired),
        (413, "too_large", errors.TooLarge),
        (422, "idempotency_key_reused", errors.IdempotencyKeyReused),
        (500, "internal", errors.Internal),
    ],
)
def test_each_problem_code_raises_its_own_error(fake, relay, status, code, kind):
    fake.faults.append(problem(status, code))
    with pytest.raises(kind) as raised:
        relay.webhooks.trigger("ok")
    assert type(raised.value) is kind
    assert len(fake.seen) == 1


def test_a_rejection_names_the_fields_at_fault(fake, relay):
    faults = [{"pointer": "/headers/X-Other", "message": "is not registered"}, {"pointer": "", "message": "no"}]
    fake.faults.append(problem(422, "request_rejected", detail="It does not fit.", errors=faults, referenceId="r-1"))
    with pytest.raises(errors.RequestRejected) as raised:
        relay.webhooks.trigger("ok")
    assert raised.value.faults == (errors.Fault("/headers/X-Other", "is not registered"), errors.Fault("", "no"))
    assert raised.value.reference_id == "r-1"
    assert str(raised.value) == "It does not fit. /headers/X-Other: is not registered (and 1 more)"


def test_an_unknown_code_raises_a_relay_error_with_that_code(fake, relay):
    fake.faults.append(problem(451, "new_in_2030"))
    with pytest.raises(UnknownProblem) as raised:
        relay.webhooks.trigger("ok")
    assert raised.value.code == "new_in_2030"
    assert errors.RelayError.code == "internal"


@pytest.mark.parametrize("reply", [Reply(404, raw=b"<html>"), Reply(302, None, {"Location": "http://127.0.0.1:9/"})])
def test_an_answer_of_something_else_is_internal_and_never_followed(fake, relay, reply):
    fake.faults.append(reply)
    with pytest.raises(errors.Internal):
        relay.webhooks.trigger("ok")
    assert len(fake.seen) == 1


@pytest.mark.parametrize("raw", [b"[]", b"not json", b"{}", b"[" * 100_000])
def test_a_success_that_cannot_be_read_is_internal(fake, relay, raw):
    fake.faults.append(Reply(200, raw=raw))
    with pytest.raises(errors.Internal):
        relay.webhooks.trigger("ok")


@pytest.mark.parametrize("data", [b"\x00\xff\xd8", bytearray(b"\x00\xff\xd8"), memoryview(b"\x00-\xff-\xd8")[::2]])
def test_bytes_are_sent_as_base64_text_to_a_webhook_that_takes_it(fake, relay, data):
    relay.webhooks.trigger("jpeg", data)
    relay.webhooks.trigger_many([{"webhookId": "jpeg", "data": data}])
    assert [(seen.method, seen.path) for seen in fake.seen] == [
        ("GET", "/v1/webhooks/jpeg"),
        ("POST", "/v1/webhooks/jpeg/trigger"),
        ("POST", "/v1/triggers"),
    ]
    assert fake.seen[1].json == {"data": "AP/Y"}
    assert fake.seen[2].json[0]["data"] == "AP/Y"


def test_bytes_are_not_sent_to_a_webhook_that_takes_json(fake, relay):
    with pytest.raises(errors.RequestRejected, match=r"/data: takes no bytes.*payload_encoding"):
        relay.webhooks.trigger("ok", b"x")
    with pytest.raises(errors.RequestRejected, match=r"/1/data: takes no bytes"):
        relay.webhooks.trigger_many([{"webhookId": "ok"}, {"webhookId": "ok", "data": b"x"}])
    assert {seen.method for seen in fake.seen} == {"GET"}


def test_a_webhook_that_takes_one_kind_of_data_takes_no_other_for_that(tmp_path):
    path = tmp_path / "scan 7.png"
    path.write_bytes(b"pixels")
    content = base64.b64encode(b"pixels").decode()
    scan = {"filename": "scan 7.png", "contentType": "image/png", "content": content}
    taken = {("jpeg", "bytes"): content, ("form", "file"): {"scan": scan}}
    with FakeRelay(jpeg=Webhook(payload_encoding="base64"), form=Webhook(payload="multipart")) as fake:
        for order in itertools.permutations(itertools.product(["jpeg", "form"], ["bytes", "file"]), 2):
            fake.reset()
            with Relay(fake.base_url, KEY) as relay, path.open("rb") as file:
                for webhook_id, kind in order:
                    with contextlib.ExitStack() as refused:
                        if (webhook_id, kind) not in taken:
                            refused.enter_context(pytest.raises(errors.RequestRejected, match="is not registered"))
                        relay.trigger(webhook_id, b"pixels" if kind == "bytes" else {"scan": file})
                    file.seek(0)
            sent = [seen.json["data"] for seen in fake.seen if seen.method == "POST"]
            assert sent == [taken[each] for each in order if each in taken]


def test_an_item_with_a_member_in_both_spellings_is_refused(fake, relay):
    with pytest.raises(errors.RequestRejected, match="/1: has a member twice"):
        relay.webhooks.trigger_many([{"webhook_id": "ok"}, {"webhook_id": "ok", "query_params": {}, "queryParams": {}}])
    assert not fake.seen


@pytest.mark.parametrize("given", [None, ""])
def test_a_missing_id_says_so(fake, relay, given):
    with pytest.raises(errors.WebhookNotRegistered, match="missing"):
        relay.webhooks.trigger(given)
    with pytest.raises(errors.NotFound, match="missing"):
        relay.webhooks.wait(given)
    assert not fake.seen


def test_a_trigger_whose_answer_was_lost_is_sent_again_and_accepted_once(fake, relay):
    fake.faults += [HangUp(accept=True), HangUp(accept=True)]
    assert relay.webhooks.trigger("ok")["status"] == 200
    assert len(fake.seen) == 3
    assert len({seen.headers["idempotency-key"] for seen in fake.seen}) == 1
    assert len(fake.invocations) == 1


def test_two_triggers_have_two_idempotency_keys(fake, relay):
    relay.webhooks.trigger("ok", "same")
    relay.webhooks.trigger("ok", "same")
    assert len(fake.invocations) == 2


def test_a_callers_own_idempotency_key_is_used(fake, relay):
    first = relay.trigger("ok", idempotency_key="order-7")
    assert relay.trigger("ok", idempotency_key="order-7")["referenceId"] == first["referenceId"]
    with pytest.raises(errors.BadParameter):
        relay.trigger("ok", idempotency_key="line\nbreak")


@pytest.mark.parametrize("call", ["trigger", "trigger_async"])
@pytest.mark.parametrize("own", [None, "order-7"])
@pytest.mark.parametrize(
    ("webhook_id", "faults", "knows_id"),
    [
        ("", [], False),
        ("nobody-knows", [], True),
        ("ok", [problem(401, "unauthenticated")], False),
        ("ok", [problem(422, "request_rejected", referenceId="r-1")], True),
        ("ok", [Reply(200, raw=b"no JSON")], False),
        ("ok", [HangUp()] * TRIES, False),
    ],
)
def test_an_error_names_the_idempotency_key_that_was_used(
    fake, relay, monkeypatch, call, own, webhook_id, faults, knows_id
):
    monkeypatch.setattr("relay.client.exchange.PAUSE_MAXIMUM_S", 0.01)
    fake.faults += faults
    with pytest.raises(errors.RelayError) as raised:
        getattr(relay.webhooks, call)(webhook_id, idempotency_key=own)
    sent = {seen.headers["idempotency-key"] for seen in fake.seen}
    assert raised.value.idempotency_key
    assert sent <= {raised.value.idempotency_key}
    assert own in {None, raised.value.idempotency_key}
    assert bool(raised.value.reference_id) == knows_id


@pytest.mark.parametrize("webhook_id", ["misfit", "stopped"])
def test_an_error_that_comes_later_names_the_key_and_the_reference_id(fake, relay, webhook_id):
    with pytest.raises(errors.RelayError) as raised:
        relay.webhooks.trigger(webhook_id, idempotency_key="order-8")
    assert raised.value.idempotency_key == "order-8"
    assert raised.value.reference_id == next(iter(fake.invocations))


def test_a_relay_that_goes_away_while_it_is_waited_for_leaves_the_reference_id(fake, relay, monkeypatch):
    monkeypatch.setattr("relay.client.exchange.PAUSE_MAXIMUM_S", 0.01)
    accepted = relay.webhooks.trigger_async("never")
    fake.faults += [HangUp()] * TRIES
    with pytest.raises(errors.Unavailable) as raised:
        relay.webhooks.wait(accepted["referenceId"])
    assert raised.value.reference_id == accepted["referenceId"]


@pytest.mark.parametrize("item", [5, None, "ok", ["ok"]])
def test_an_item_that_is_not_a_mapping_is_a_type_error_before_anything_is_sent(fake, relay, item):
    with pytest.raises(TypeError, match="must be a mapping"):
        relay.webhooks.trigger_many([{"webhookId": "ok"}, item])
    assert not fake.seen


@pytest.mark.parametrize(("status", "code"), [(503, "unavailable"), (429, "rate_limited"), (429, "over_capacity")])
def test_a_busy_relay_is_asked_again_when_it_said_so(fake, relay, status, code):
    busy = problem(status, code)
    fake.faults.append(Reply(busy.status, busy.document, {**busy.headers, "Retry-After": "1"}))
    began = time.monotonic()
    assert relay.webhooks.trigger("ok")["status"] == 200
    assert time.monotonic() - began >= 1


def test_retries_are_bounded_and_end_in_the_relays_own_error(fake, relay, monkeypatch):
    monkeypatch.setattr("relay.client.exchange.PAUSE_FIRST_S", 0.01)
    busy = problem(503, "unavailable")
    fake.faults += [Reply(busy.status, busy.document, {**busy.headers, "Retry-After": "0"})] * 20
    with pytest.raises(errors.Unavailable):
        relay.webhooks.trigger("ok")
    assert len(fake.seen) == TRIES


def test_a_relay_that_asks_for_long_patience_is_not_waited_for(fake, relay):
    busy = problem(429, "rate_limited")
    fake.faults.append(Reply(busy.status, busy.document, {**busy.headers, "retry-after": "3600"}))
    began = time.monotonic()
    with pytest.raises(errors.RateLimited) as raised:
        relay.webhooks.trigger("ok")
    assert raised.value.retry_after_s == 3600
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(("asked_s", "waits"), [(30, True), (31, False)])
def test_a_relay_is_waited_for_so_long_and_no_longer(fake, relay, monkeypatch, asked_s, waits):
    slept_s = []
    monkeypatch.setattr("relay.client.relay.time.sleep", slept_s.append)
    busy = problem(503, "unavailable")
    fake.faults.append(Reply(busy.status, busy.document, {**busy.headers, "Retry-After": str(asked_s)}))
    if waits:
        assert relay.webhooks.trigger("ok", timeout_s=1000)["status"] == 200
        (slept,) = (each for each in slept_s if each >= 1)  # the fake sleeps too, for less
        assert asked_s <= slept < asked_s + 1
    else:
        with pytest.raises(errors.Unavailable):
            relay.webhooks.trigger("ok", timeout_s=1000)
        assert max(slept_s, default=0) < 1


def test_a_relay_that_cannot_be_reached_is_unavailable():
    with FakeRelay() as fake:
        base_url = fake.base_url
    with Relay(base_url, KEY, tries=2) as relay, pytest.raises(errors.Unavailable) as raised:
        relay.webhooks.trigger("ok")
    assert "127.0.0.1" not in str(raised.value)


def test_a_call_may_wait_for_ever_but_not_for_no_number(fake, relay):
    answer = relay.trigger("ok", timeout_s=math.inf)
    assert relay.wait(answer["referenceId"], math.inf) == answer
    for call in (relay.trigger, relay.trigger_async, relay.wait):
        with pytest.raises(errors.BadParameter, match="number of seconds"):
            call("ok", timeout_s=math.nan)


def test_a_silent_relay_is_given_up_at_the_deadline(fake):
    fake.faults += [Silence(60)] * 5
    began = time.monotonic()
    with Relay(fake.base_url, KEY, timeout_s=0.5) as relay, pytest.raises(errors.Unavailable):
        relay.webhooks.trigger("ok")
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_that_comes_byte_by_byte_is_given_up_at_the_deadline(fake, chunked):
    fake.faults.append(Drip(chunked))
    with Relay(fake.base_url, KEY, timeout_s=0.2, tries=1) as relay, pytest.raises(errors.Unavailable):
        relay.webhooks.trigger("ok")


def test_a_wait_that_ends_at_the_relay_goes_on_by_reference_id(fake, relay):
    fake.faults.append(Reply(202, {"referenceId": relay.trigger_async("later")["referenceId"], "state": "sending"}))
    assert relay.webhooks.trigger("later")["data"] == "late"
    assert fake.seen[-1].method == "GET"
    assert fake.seen[-1].headers["prefer"] == "wait=30"


def test_a_relay_without_room_to_wait_is_polled_with_pauses(fake, relay):
    fake.room_to_wait = False
    assert relay.webhooks.trigger("slow")["data"] == "late"
    assert 2 <= len(fake.seen) < 15


@pytest.mark.parametrize(
    ("webhook_id", "kind"),
    [("misfit", errors.RequestRejected), ("removed", errors.WebhookNotRegistered), ("stopped", errors.Cancelled)],
)
def test_an_invocation_that_ends_without_a_result_raises(relay, webhook_id, kind):
    accepted = relay.webhooks.trigger_async(webhook_id)
    with pytest.raises(kind) as raised:
        relay.webhooks.wait(accepted["referenceId"])
    assert raised.value.reference_id == accepted["referenceId"]


def test_a_wait_ends_at_its_timeout_with_a_timeout_error(fake, relay):
    began = time.monotonic()
    with pytest.raises(TimeoutError) as raised:
        relay.webhooks.trigger("never", timeout_s=1.5, idempotency_key="order-8")
    assert 1.4 <= time.monotonic() - began < 1.5 + BUSY_S
    assert isinstance(raised.value, WaitEnded)
    assert raised.value.reference_id in fake.invocations
    assert raised.value.idempotency_key == "order-8"


def test_a_wait_of_nothing_looks_once(fake, relay):
    reference_id = relay.trigger_async("never")["referenceId"]
    with pytest.raises(TimeoutError):
        relay.wait(reference_id, 0)
    assert [seen.method for seen in fake.seen] == ["POST", "GET"]


def test_an_asynchronous_trigger_answers_with_reference_id_and_state(fake, relay):
    accepted = relay.webhooks.trigger_async("slow", "x")
    assert accepted == {"referenceId": next(iter(fake.invocations)), "state": "sending"}
    assert fake.seen[0].headers["prefer"] == "respond-async"


def test_a_record_can_be_got_as_it_is(relay):
    reference_id = relay.webhooks.trigger("ok")["referenceId"]
    record = relay.webhooks.get(reference_id)
    assert record["state"] == "delivered"
    assert record["result"]["data"] == {"id": HUGE}
    with pytest.raises(errors.NotFound):
        relay.webhooks.get("unknown")


def test_many_triggers_go_in_groups_and_keep_their_order(fake, relay):
    items = [{"webhookId": "ok" if number % 10 else "unknown", "data": {"n": number}} for number in range(2500)]
    results = relay.webhooks.trigger_many(iter(items))

    assert [len(seen.json) for seen in fake.seen] == [1000, 1000, 500]
    assert [item["data"]["n"] for seen in fake.seen for item in seen.json] == list(range(2500))
    assert [("problem" in result) for result in results] == [number % 10 == 0 for number in range(2500)]


def test_many_triggers_are_split_by_bytes_too(fake, relay):
    items = [{"webhook_id": "ok", "data": "x" * 1_500_000} for _ in range(5)]
    assert all("referenceId" in result for result in relay.webhooks.trigger_many(items))
    assert [len(seen.json) for seen in fake.seen] == [2, 2, 1]


@pytest.mark.parametrize(("more", "sizes"), [(0, [2, 2, 1]), (1, [1, 1, 2, 1])])
def test_every_group_of_triggers_is_filled_to_the_last_byte(more, sizes):
    own = len(write({"webhookId": "ok", "data": ""})) + 1  # with a comma
    fills_half, larger = ({"webhookId": "ok", "data": "x" * (GROUP_BYTES // 2 - own + extra)} for extra in (0, more))
    assert [len(group) for group in groups([fills_half, larger, *[fills_half] * 3])] == sizes


def test_no_items_cause_no_request(fake, relay):
    assert relay.webhooks.trigger_many([]) == []
    assert fake.seen == []


def test_a_group_whose_answer_was_lost_is_accepted_once(fake, relay):
    fake.faults.append(HangUp(accept=True))
    relay.webhooks.trigger_many([{"webhookId": "ok"}] * 3)
    assert len(fake.invocations) == 3


def test_a_group_too_large_for_this_relay_is_halved(fake, relay):
    fake.max_body_bytes = 1000
    items = [{"webhookId": "ok", "data": "x" * size} for size in (300, 300, 2000, 300)]
    results = relay.webhooks.trigger_many(items)
    assert [result.get("problem", {}).get("code") for result in results] == [None, None, "too_large", None]


def test_a_fault_after_the_first_group_loses_no_reference_id(fake, relay):
    fake.faults.append(Silence(0))
    fake.faults.append(problem(500, "internal"))
    results = relay.webhooks.trigger_many([{"webhookId": "ok"}] * 2100)
    assert sum("referenceId" in result for result in results) == 1000
    assert {result["problem"]["code"] for result in results[1000:]} == {"internal"}
    assert len(results) == 2100


def test_what_may_have_been_accepted_is_triggered_again_with_its_key_and_accepted_once(fake):
    with Relay(fake.base_url, KEY, tries=1) as relay:
        fake.faults += [Silence(0), HangUp(accept=True)]
        items = [{"webhookId": "ok", "data": {"n": number}} for number in range(2100)]
        results = relay.webhooks.trigger_many(items)
        again = [item | result["problem"] for item, result in zip(items, results, strict=True) if "problem" in result]
        keyed = [{name: each[name] for name in ("webhookId", "data", "idempotencyKey")} for each in again]
        assert len(keyed) == 1100
        assert all("referenceId" in result for result in relay.webhooks.trigger_many(keyed))
        assert len(fake.invocations) == 2100


def test_a_fault_of_the_first_group_is_raised_with_the_keys_of_all_items(fake):
    with Relay(fake.base_url, KEY, tries=1) as relay:
        fake.faults.append(HangUp(accept=True))
        with pytest.raises(errors.Unavailable) as raised:
            relay.trigger_many([{"webhookId": "ok"}, {"webhookId": "ok", "idempotencyKey": "own"}])
        keys = raised.value.idempotency_keys
        assert keys[1:] == ("own",)
        relay.trigger_many([{"webhookId": "ok", "idempotencyKey": key} for key in keys])
        assert len(fake.invocations) == 2


def test_a_fault_of_the_first_group_is_raised(fake):
    with Relay(fake.base_url, "whk_wrong_key") as relay, pytest.raises(errors.Unauthenticated):
        relay.trigger_many([{"webhookId": "ok"}])


def test_one_client_serves_many_threads(fake, relay):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.extend(relay.trigger("ok", n)["status"] for n in range(10)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 80
    assert len(fake.invocations) == 80


def test_it_trusts_the_authority_that_it_is_given_and_no_other(tmp_path):
    authority = make_authority(tmp_path)
    with receiver(json_answer({"webhooks": []}), tls=authority.context("127.0.0.1")) as endpoint:
        with Relay(endpoint.url, KEY, ca_file=authority.ca_file) as relay:
            assert relay.webhooks.available() == []
        with Relay(endpoint.url, KEY, tries=1) as relay, pytest.raises(errors.Unavailable):
            relay.webhooks.available()


def test_a_client_that_is_closed_leaves_no_connection(fake):
    before = set(threading.enumerate())
    with Relay(fake.base_url, KEY) as relay:
        assert len(relay.webhooks.available()) == len(fake.webhooks)
        (serving,) = (each for each in set(threading.enumerate()) - before if "process_request" in each.name)
        assert serving.is_alive()  # it ends with its connection
    serving.join(BUSY_S)
    assert not serving.is_alive()


def test_each_of_many_threads_keeps_its_connection(fake, relay, caplog):
    with ThreadPoolExecutor(20) as pool:
        assert {each["status"] for each in pool.map(relay.trigger, ["slow"] * 20)} == {200}
    assert "discarding connection" not in caplog.text


def test_the_environment_and_the_relays_cookies_are_ignored(fake, relay, misleading_environ):
    fake.faults.append(
        Reply(200, {"referenceId": "r", "status": 200, "data": 1, "error": False}, {"Set-Cookie": "a=b"})
    )
    relay.trigger("ok")
    relay.trigger("ok")
    assert {(seen.headers["authorization"], seen.headers.get("cookie")) for seen in fake.seen} == {
        (f"Bearer {KEY}", None)
    }


@pytest.mark.parametrize(
    ("base_url", "key", "said"),
    [
        ("relay.example", KEY, "http or https URL"),
        ("ftp://relay.example", KEY, "http or https URL"),
        ("http://relay.example?x=1", KEY, "without query"),
        ("http://relay.example/v1", KEY, "must not end in /v1"),
        ("http://relay.example/v1/", KEY, "must not end in /v1"),
        ("http://relay.example/relay/v1", KEY, "must not end in /v1"),
        ("http://relay.example#x", KEY, "without query or fragment"),
        ("http://", KEY, "http or https URL"),
        ("http://r", "a\nb", "visible ASCII"),
        ("http://r", "", "key is missing: create one with `relay keys create"),
        ("http://r", None, "key is missing: create one with `relay keys create"),
    ],
)
def test_a_client_that_cannot_work_is_not_made_and_says_why(base_url, key, said):
    with pytest.raises(ValueError, match=said):
        Relay(base_url, key)


@pytest.mark.parametrize(
    ("call", "given"),
    [
        *[("trigger", "ok"), ("trigger_async", "ok"), ("trigger_many", [{"webhookId": "ok"}]), ("available", None)],
        *[("describe", "ok"), ("get", "r"), ("wait", "r")],
    ],
)
def test_each_call_has_a_time_of_its_own(fake, relay, call, given):
    fake.faults += [Silence(6)] * 2  # after which it would be answered
    with pytest.raises(errors.Unavailable):
        getattr(relay.webhooks, call)(*[given] * (given is not None), timeout_s=0.2)


def test_a_client_never_shows_its_key(fake, relay):
    assert KEY not in repr(relay) + json.dumps(vars(relay), default=repr)


def test_a_redirect_whose_target_cannot_be_read_is_an_error_of_the_relay_that_has_the_key(fake, relay):
    fake.faults.append(Reply(302, headers={"Location": "http://[::1"}))

    with pytest.raises(errors.Internal) as raised:
        relay.trigger("ok")
    assert raised.value.idempotency_key == fake.seen[0].headers["idempotency-key"]


def test_a_process_that_was_forked_uses_connections_of_its_own(relay, monkeypatch):
    relay.trigger("ok")
    transport = relay.webhooks._transport
    before = transport._own_session()
    assert transport._own_session() is before

    parent = os.getpid()
    monkeypatch.setattr("relay.client.relay.os.getpid", lambda: parent + 1)
    assert relay.trigger("ok")["status"] == 200
    assert transport._own_session() is not before
    assert not transport._own_session().trust_env
    before.close()
