"""The JavaScript client in Node, against a fake relay that speaks real HTTP."""

import base64
import json
import subprocess
from pathlib import Path

import pytest

from tests.javascript import MODULE, JavaScript
from tests.timing import BUSY_S, START_S
from tests.tools import require
from tests.unit.fake_relay import KEY, USUAL, FakeRelay, HangUp, Reply, Silence, Webhook, problem

FIRST = "It does not fit. /headers/X-Other: is not registered (and 1 more)"


@pytest.fixture
def fake():
    with FakeRelay(ok=Webhook(data={"id": 1}), **USUAL) as relay:
        yield relay


@pytest.fixture
def api(node, fake):
    return JavaScript(node, fake.base_url + "/", KEY)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    """The file of a client that hardly pauses between its tries."""
    path, text = tmp_path_factory.mktemp("hasty") / MODULE.name, MODULE.read_text(encoding="utf-8")
    for name, pause in (("PAUSE_FIRST_MS", "250"), ("PAUSE_MAXIMUM_MS", "5_000")):
        assert f"const {name} = {pause};" in text
        text = text.replace(f"const {name} = {pause};", f"const {name} = 10;")
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture
def hasty_api(node, fake, hasty):
    return JavaScript(node, fake.base_url + "/", KEY, hasty)


def test_a_trigger_resolves_to_exactly_the_four_documented_members(fake, api):
    done = api.call("trigger", "ok", {"key": "value"}, {"X-Name": "v"}, None)

    assert done["value"] == {
        "referenceId": next(iter(fake.invocations)),
        "status": 200,
        "data": {"id": 1},
        "error": False,
    }
    (seen,) = fake.seen
    assert seen.json == {"data": {"key": "value"}, "headers": {"X-Name": "v"}, "queryParams": None}
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["prefer"] == "wait=30"


def test_a_trigger_needs_nothing_but_the_id(fake, api):
    assert api.call("trigger", "ok")["value"]["status"] == 200
    assert fake.seen[0].json == {"data": None, "headers": None, "queryParams": None}


def test_an_endpoint_that_fails_or_cannot_be_contacted_resolves(api):
    failed, unreachable = api.calls([("trigger", ("fails",)), ("trigger", ("gone",))])
    assert (failed["value"]["status"], failed["value"]["error"]) == (500, True)
    assert (unreachable["value"]["status"], unreachable["value"]["error"]) == (0, True)


def test_an_unknown_webhook_rejects_with_a_typed_error(api):
    error = api.call("trigger", "nobody-knows")["error"]
    assert error["typed"]
    assert (error["name"], error["code"], error["status"]) == ("WebhookError", "webhook_not_registered", 404)
    assert error["referenceId"]


def test_an_id_that_cannot_stand_in_a_path_names_no_webhook(fake, api):
    done = api.calls([("trigger", (webhook_id,)) for webhook_id in ("", ".", "..", "\ud800", "a/b", "/")])
    assert {each["error"]["code"] for each in done} == {"webhook_not_registered"}
    assert not fake.seen


def test_an_id_never_leaves_its_path_segment(fake, api):
    assert api.call("trigger", "ok\\..x?y#z%2F +ä")["error"]["code"] == "webhook_not_registered"
    assert fake.seen[0].path == "/v1/webhooks/ok%5C..x%3Fy%23z%252F%20%2B%C3%A4/trigger"


def test_a_rejection_names_the_fields_at_fault(fake, api):
    faults = [{"pointer": "/headers/X-Other", "message": "is not registered"}, {"pointer": "", "message": "no"}]
    fake.faults.append(problem(422, "request_rejected", detail="It does not fit.", errors=faults, referenceId="r-1"))
    error = api.call("trigger", "ok")["error"]
    assert (error["code"], error["message"], error["errors"]) == ("request_rejected", FIRST, faults)
    assert error["referenceId"] == "r-1"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (problem(500, "internal"), "internal"),
        (problem(451, "new_in_2030"), "new_in_2030"),
        (Reply(404, raw=b"<html>"), "internal"),
        (Reply(413, raw=b"<html>"), "too_large"),
        (Reply(302, None, {"Location": "http://127.0.0.1:9/"}), "internal"),
        (Reply(200, raw=b"[]"), "internal"),
        (Reply(200, raw=b"not json"), "internal"),
    ],
)
def test_a_reply_without_a_valid_result_rejects_at_once_and_is_not_followed(fake, api, reply, code):
    fake.faults.append(reply)
    error = api.call("trigger", "ok")["error"]
    assert error["typed"]
    assert error["code"] == code
    assert len(fake.seen) == 1


def test_a_value_of_any_type_at_any_place_arrives_as_it_was_given_or_nothing_is_sent(fake):
    """Also for the types of which the engine has more than this test knows: it makes a value of each."""
    command = [
        require("node"),
        str(Path(__file__).parent / "javascript" / "every_value.mjs"),
        str(MODULE),
        fake.base_url,
    ]
    fake.webhooks |= {"bytes": Webhook(payload_encoding="base64"), "form": Webhook(payload="multipart")}
    fake.webhooks["later"] = Webhook(seconds=60)
    done = subprocess.run([*command, KEY], capture_output=True, text=True, timeout=START_S, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["problems"] == []
    assert told["taken"] > 300
    assert told["refused"] > 1500


@pytest.mark.parametrize("form", ["$bytes", "$buffer", "$blob"])
def test_binary_data_is_sent_as_base64_text(fake, api, form):
    sizes = (0, 1, 2, 3, 24_575, 24_576, 24_577, 100_001)
    texts = [base64.b64encode(bytes(number % 251 for number in range(size))).decode() for size in sizes]
    done = api.calls([("trigger", ("jpeg", {form: text})) for text in texts])
    assert all(each["value"]["status"] == 200 for each in done)
    assert {seen.json["data"] for seen in fake.seen if seen.method == "POST"} == set(texts)


@pytest.mark.parametrize("form", ["$bytes", "$buffer", "$blob"])
def test_binary_data_for_a_webhook_that_takes_none_is_refused_before_it_is_sent(fake, api, form):
    error = api.call("trigger", "ok", {form: "/9j/"})["error"]
    assert (error["code"], error["errors"][0]["pointer"]) == ("request_rejected", "/data")
    assert 'payload_encoding "base64"' in error["errors"][0]["message"]
    assert {seen.method for seen in fake.seen} == {"GET"}


def test_what_may_be_triggered_can_be_listed_and_described(api):
    listed, described, unknown = api.calls([("list", ()), ("describe", ("jpeg",)), ("describe", ("nobody-knows",))])
    assert described["value"]["payloadEncoding"] == "base64"
    assert described["value"] in listed["value"]
    assert unknown["error"]["code"] == "webhook_not_registered"


def test_a_relay_that_stops_in_the_middle_of_a_call_leaves_its_reference_id_in_the_error(fake, hasty_api):
    accepted = hasty_api.call("triggerAsync", "never")["value"]
    fake.faults += [Reply(202, accepted), *[HangUp()] * 6]
    error = hasty_api.call("trigger", "never", None, None, None, {"idempotencyKey": "order-8"})["error"]
    assert (error["code"], error["referenceId"]) == ("unavailable", accepted["referenceId"])
    assert error["idempotencyKey"] == "order-8"


@pytest.mark.parametrize("fault", [HangUp(), problem(500, "internal"), problem(401, "unauthenticated")])
def test_an_error_of_a_trigger_carries_the_idempotency_key_in_use(fake, hasty_api, fault):
    fake.faults += [fault] * 6
    error = hasty_api.call("trigger", "ok")["error"]
    sent = {seen.headers["idempotency-key"] for seen in fake.seen}
    assert sent == {error["idempotencyKey"]}


def test_a_delay_is_sent_with_the_trigger(fake, api):
    api.call("triggerAsync", "ok", None, None, None, {"delay": 90})
    api.call("triggerMany", [{"webhookId": "ok", "delay": 5}])
    assert fake.seen[0].json["delay"] == 90
    assert fake.seen[1].json[0]["delay"] == 5


def test_a_trigger_whose_answer_was_lost_is_sent_again_and_accepted_once(fake, api):
    fake.faults += [HangUp(accept=True), HangUp(accept=True)]
    assert api.call("trigger", "ok")["value"]["status"] == 200
    assert len(fake.seen) == 3
    assert len({seen.headers["idempotency-key"] for seen in fake.seen}) == 1
    assert len(fake.invocations) == 1


def test_two_triggers_have_two_idempotency_keys(fake, api):
    api.calls([("trigger", ("ok", "same")), ("trigger", ("ok", "same"))])
    assert len(fake.invocations) == 2


def test_a_callers_own_idempotency_key_is_used(fake, api):
    options = {"idempotencyKey": "order-7"}
    api.calls([("trigger", ("ok", None, None, None, options)), ("trigger", ("ok", None, None, None, options))])
    assert len(fake.invocations) == 1
    error = api.call("trigger", "ok", None, None, None, {"idempotencyKey": "line\nbreak"})["error"]
    assert error["code"] == "bad_parameter"


@pytest.mark.parametrize(("status", "code"), [(503, "unavailable"), (429, "rate_limited"), (429, "over_capacity")])
def test_a_busy_relay_is_asked_again_when_it_said_so(fake, api, status, code):
    busy = problem(status, code)
    fake.faults.append(Reply(busy.status, busy.document, {**busy.headers, "Retry-After": "1"}))
    done = api.call("trigger", "ok")
    assert done["value"]["status"] == 200
    assert 1000 <= done["ms"] < 5000


def test_retries_are_bounded_and_end_in_the_relays_own_error(fake, hasty_api):
    busy = problem(503, "unavailable")
    fake.faults += [Reply(busy.status, busy.document, {**busy.headers, "Retry-After": "0"})] * 20
    assert hasty_api.call("trigger", "ok")["error"]["code"] == "unavailable"
    assert len(fake.seen) == 6


def test_a_relay_that_asks_for_long_patience_is_not_waited_for(fake, api):
    busy = problem(429, "rate_limited")
    fake.faults.append(Reply(busy.status, busy.document, {**busy.headers, "Retry-After": "3600"}))
    error = api.call("trigger", "ok")["error"]
    assert (error["code"], error["retryAfter"]) == ("rate_limited", 3600)
    assert len(fake.seen) == 1


def test_a_relay_that_cannot_be_reached_rejects_with_a_typed_error(node, hasty):
    with FakeRelay() as fake:
        base_url = fake.base_url
    error = JavaScript(node, base_url, KEY, hasty).call("trigger", "ok")["error"]
    assert error["typed"]
    assert (error["code"], error["status"]) == ("unavailable", 0)
    assert "127.0.0.1" not in error["message"]


def test_a_silent_relay_is_given_up_at_the_deadline(fake, api):
    fake.faults += [Silence(5)] * 5
    done = api.call("trigger", "ok", timeout=500)
    assert done["error"]["code"] == "unavailable"
    assert done["ms"] < 4000


def test_a_wait_that_ends_at_the_relay_goes_on_by_reference_id(fake, api):
    accepted = api.call("triggerAsync", "later")["value"]
    fake.faults.append(Reply(202, accepted))
    assert api.call("trigger", "later")["value"]["data"] == "late"
    assert fake.seen[-1].method == "GET"
    assert fake.seen[-1].path == f"/v1/invocations/{accepted['referenceId']}"


def test_a_relay_without_room_to_wait_is_polled_with_pauses(fake, api):
    fake.room_to_wait = False
    assert api.call("trigger", "slow")["value"]["data"] == "late"
    assert 2 <= len(fake.seen) < 15


def test_an_invocation_that_ends_without_a_result_rejects(api):
    codes = {"misfit": "request_rejected", "removed": "webhook_not_registered", "stopped": "cancelled"}
    accepted = api.calls([("triggerAsync", (name,)) for name in codes])
    references = [each["value"]["referenceId"] for each in accepted]
    ended = api.calls([("wait", (reference,)) for reference in references])
    assert [each["error"]["code"] for each in ended] == list(codes.values())
    assert [each["error"]["referenceId"] for each in ended] == references


def test_a_wait_ends_at_its_timeout_and_names_the_invocation(fake, api):
    fake.room_to_wait = False  # so that the call is accepted at once, and all the time is left for polling
    done = api.call("trigger", "never", timeout=5000)
    assert done["error"]["code"] == "wait_ended"
    assert done["error"]["referenceId"] in fake.invocations
    assert 4900 <= done["ms"] < (5 + BUSY_S) * 1000


@pytest.mark.parametrize("room_to_wait", [True, False])
def test_a_signal_ends_the_waiting_at_once_and_the_error_names_the_call(fake, api, room_to_wait):
    fake.room_to_wait = room_to_wait
    done = api.call("trigger", "never", None, None, None, abort_after_ms=300)
    error = done["error"]
    assert (error["name"], error["typed"]) == ("AbortError", False)
    assert error["idempotencyKey"] == fake.seen[0].headers["idempotency-key"]
    assert error["referenceId"] == (None if room_to_wait else next(iter(fake.invocations)))
    assert done["ms"] < 2000


def test_calls_that_share_a_signal_end_with_errors_of_their_own(fake, api):
    done = api.calls([("trigger", ("never", None, None, None))] * 3, abort_after_ms=300, shared=True)
    keys = {each["error"]["idempotencyKey"] for each in done}
    assert keys == {seen.headers["idempotency-key"] for seen in fake.seen}
    assert len(keys) == 3


def test_an_aborted_wait_names_the_invocation(api):
    reference_id = api.call("triggerAsync", "never")["value"]["referenceId"]
    error = api.call("wait", reference_id, abort_after_ms=300)["error"]
    assert (error["name"], error["referenceId"]) == ("AbortError", reference_id)


def test_a_record_can_be_got_as_it_is(fake, api):
    reference_id = api.call("trigger", "ok")["value"]["referenceId"]
    found, missing = api.calls([("get", (reference_id,)), ("get", ("unknown",))])
    assert (found["value"]["state"], found["value"]["result"]["data"]) == ("delivered", {"id": 1})
    assert missing["error"]["code"] == "not_found"


def test_many_triggers_go_in_groups_and_keep_their_order(fake, api):
    items = [{"webhookId": "ok" if number % 10 else "unknown", "data": {"n": number}} for number in range(2500)]
    results = api.call("triggerMany", items)["value"]
    assert [len(seen.json) for seen in fake.seen] == [1000, 1000, 500]
    assert [item["data"]["n"] for seen in fake.seen for item in seen.json] == list(range(2500))
    assert [("problem" in result) for result in results] == [number % 10 == 0 for number in range(2500)]


def test_many_triggers_are_split_by_bytes_too(fake, api):
    results = api.call("triggerMany", [{"webhookId": "ok", "data": "ä" * 750_000} for _ in range(5)])["value"]
    assert all("referenceId" in result for result in results)
    assert [len(seen.json) for seen in fake.seen] == [2, 2, 1]


def test_a_group_whose_answer_was_lost_is_accepted_once(fake, api):
    fake.faults.append(HangUp(accept=True))
    api.call("triggerMany", [{"webhookId": "ok"}] * 3)
    assert len(fake.invocations) == 3


def test_a_group_too_large_for_this_relay_is_halved(fake, api):
    fake.max_body_bytes = 1000
    items = [{"webhookId": "ok", "data": "x" * size} for size in (300, 300, 2000, 300)]
    results = api.call("triggerMany", items)["value"]
    assert [result.get("problem", {}).get("code") for result in results] == [None, None, "too_large", None]


def test_a_fault_after_the_first_group_loses_no_reference_id(fake, api):
    fake.faults += [Silence(0), problem(500, "internal")]
    results = api.call("triggerMany", [{"webhookId": "ok"}] * 2100)["value"]
    assert sum("referenceId" in result for result in results) == 1000
    assert {result["problem"]["code"] for result in results[1000:]} == {"internal"}
    assert len(results) == 2100


def test_what_may_have_been_accepted_has_its_key(fake, hasty_api):
    fake.faults += [Silence(0), HangUp(accept=True), *[HangUp()] * 5]
    items = [{"webhookId": "ok", "idempotencyKey": f"k{number}"} for number in range(1100)]
    results = hasty_api.call("triggerMany", items)["value"]
    assert [each["problem"]["idempotencyKey"] for each in results[1000:]] == [
        f"k{number}" for number in range(1000, 1100)
    ]
    fake.faults += [HangUp(accept=True), *[HangUp()] * 5]
    error = hasty_api.call("triggerMany", [{"webhookId": "ok"}, {"webhookId": "ok", "idempotencyKey": "own"}])["error"]
    assert [type(error["idempotencyKeys"][0]), error["idempotencyKeys"][1:]] == [str, ["own"]]


def test_a_signal_after_the_first_group_loses_no_reference_id(fake, api):
    fake.faults += [Silence(0), Silence(10)]
    results = api.call("triggerMany", [{"webhookId": "ok"}] * 1100, abort_after_ms=3000)["value"]
    assert [result.get("problem", {}).get("code") for result in results] == [None] * 1000 + ["aborted"] * 100


def test_no_triggers_send_nothing(fake, api):
    assert api.call("triggerMany", [])["value"] == []
    assert not fake.seen


def test_a_fault_of_the_first_group_rejects(node, fake):
    api = JavaScript(node, fake.base_url, "whk_wrong_key")
    assert api.call("triggerMany", [{"webhookId": "ok"}])["error"]["code"] == "unauthenticated"


@pytest.mark.parametrize(
    ("base_url", "key", "said"),
    [
        ("relay.example", KEY, "http or https URL"),
        ("http://r?x=1", KEY, "without query"),
        ("http://r/v1", KEY, "must not end in /v1"),
        ("http://r/v1/", KEY, "must not end in /v1"),
        ("http://r", "a\nb", "visible ASCII"),
        ("http://r", "", "key is missing: create one with `relay keys create"),
        ("http://r", None, "key is missing: create one with `relay keys create"),
    ],
)
def test_a_client_that_cannot_work_is_not_made_and_says_why(node, base_url, key, said):
    with pytest.raises(AssertionError, match=f"TypeError: .*{said}"):
        JavaScript(node, base_url, key).call("trigger", "ok")


def test_a_missing_id_says_so(fake, api):
    calls = [("trigger", "webhook_not_registered"), ("describe", "webhook_not_registered"), ("wait", "not_found")]
    done = api.calls([(method, (given,)) for method, _ in calls for given in (None, "")])
    assert [each["error"]["code"] for each in done] == [code for _, code in calls for _ in range(2)]
    assert all("missing" in each["error"]["message"] for each in done)
    assert not fake.seen
