import itertools
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace

import jsonschema_rs
import pytest
import requests

from api.awaiting import Waiters
from api.reference.document import make_document
from relay.domain.invocation import Outcome, State
from relay.domain.reference_id import new_reference_id
from relay.request.outline import MAX_PARTS
from relay.store.health.readiness import ServerWarnings
from relay.store.keys import keyspace
from relay.store.ledger.acceptance import Accepted, AcceptVerdict
from relay.store.ledger.transitions import NewStep, NextStep
from tests.integration.test_api_triggers import problem
from tests.store_keys import KEYS
from tests.timing import BUSY_S

READINESS = ("lanes", "warnings", "workers")  # members of the problem that says what is not ready


def accepted(api):
    return api.trigger(body={"data": {"a": 1}}, prefer="respond-async").json()["referenceId"]


def test_a_record_shows_what_happened_to_an_invocation(api):
    ref = accepted(api)
    api.settle([ref], status=404, data={"n": 2**70})
    record = api.call("GET", f"/v1/invocations/{ref}", key=api.operator_key).json()
    assert (record["referenceId"], record["webhookId"], record["state"]) == (ref, "order", "delivered")
    assert record["result"] == {"status": 404, "data": {"n": 2**70}, "error": True}
    assert record["attempts"][0]["outcome"] == "answered"
    assert record["caller"] == api.key_row.id
    assert set(record) >= {
        "revision",
        "createdAt",
        "finishedAt",
        "requestBytes",
        "responseBytes",
        "replayOf",
        "expiresAt",
    }


def test_a_trigger_key_sees_neither_caller_nor_detailed_outcome(api):
    ref = accepted(api)
    api.settle([ref], status=0, outcome=Outcome.TLS_FAILED, state=State.UNREACHABLE)
    record = api.call("GET", f"/v1/invocations/{ref}").json()
    assert record["attempts"][0]["outcome"] == "unreachable"
    assert "caller" not in record
    assert record["result"]["data"]["code"] == "unreachable"
    detailed = api.call("GET", f"/v1/invocations/{ref}", key=api.operator_key).json()
    assert detailed["attempts"][0]["outcome"] == "tls_failed"


@pytest.mark.parametrize("headers", [{}, {"Prefer": "wait=5"}])
@pytest.mark.parametrize("is_final", [False, True])
def test_a_call_of_a_hidden_webhook_exists_for_operators_only(api, headers, is_final):
    login = '{id: "login", url: "https://hook.example.com/login", method: "POST", hidden: true}\n'
    api.register("chained", login + '{id: "both", steps: [{webhook: "login"}]}')
    key, operator_key = (api.runtime.api_keys.create("chained", [scope])[0] for scope in ("trigger", "operate"))
    parent = api.trigger("both", key=key, prefer="respond-async").json()["referenceId"]
    step = new_reference_id("chained")
    new = NewStep(step, "login", 1, 20_000, repeatable=False, payload=b"sealed", request_bytes=1)
    assert api.store.advance([NextStep(parent, "token", 0, 0, [new])]).granted
    if is_final:
        api.settle([step], data={"diagnosis": "planted"})
    began_s = time.monotonic()
    hidden = api.call("GET", f"/v1/invocations/{step}", key=key, headers=headers)
    unknown = api.call("GET", f"/v1/invocations/{new_reference_id('chained')}", key=key, headers=headers)
    assert time.monotonic() - began_s < 5
    problem(hidden, 404, "not_found")
    assert hidden.json() == unknown.json()
    shown = api.call("GET", f"/v1/invocations/{step}", key=operator_key).json()
    assert (shown["webhookId"], shown["chain"]["parent"]) == ("login", parent)
    assert api.call("GET", f"/v1/invocations/{parent}", key=key).status_code == 200


SCOPES = [each for count in (1, 2, 3) for each in itertools.combinations(("trigger", "operate", "metrics"), count)]


@pytest.mark.parametrize("scopes", SCOPES, ids="+".join)
def test_what_a_key_sees_of_a_record_goes_by_the_scope_operate_whatever_others_it_has(api, scopes):
    ref = accepted(api)
    api.settle([ref], status=0, outcome=Outcome.TLS_FAILED, state=State.UNREACHABLE)
    key, _ = api.runtime.api_keys.create("acme", scopes)
    answer = api.call("GET", f"/v1/invocations/{ref}", key=key)
    if scopes == ("metrics",):
        problem(answer, 403, "forbidden")
        return
    may_operate = "operate" in scopes
    assert ("caller" in answer.json(), "chain" in answer.json()) == (may_operate, may_operate)
    assert answer.json()["attempts"][0]["outcome"] == ("tls_failed" if may_operate else "unreachable")


def outline(api, ref, key=None):
    answer = api.call("GET", f"/v1/invocations/{ref}/request", key=key or api.operator_key)
    jsonschema_rs.validator_for({**make_document(), "$ref": "#/components/schemas/Outline"}).validate(answer.json())
    return answer


def test_an_operator_sees_names_and_sizes_of_a_request_and_no_value(api):
    body = {"data": {"patient": "Jane Doe", "visits": [{"day": 7}, {"day": 8}]}, "headers": {"X-Locale": "en-GB"}}
    ref = api.trigger(body=body, prefer="respond-async").json()["referenceId"]
    answer = outline(api, ref)
    told = answer.json()
    assert (told["complete"], told["missing"]) == (True, None)
    sizes = {part["pointer"]: (part["types"], part["count"], part["bytes"]) for part in told["parts"]}
    assert sizes["/data/patient"] == (["string"], 1, 10)
    assert sizes["/data/visits/*/day"] == (["number"], 2, 2)
    assert sizes["/headers/X-Locale"] == (["string"], 1, 7)
    assert not [value for value in ("Jane", "en-GB") if value in answer.text]
    assert answer.headers["Cache-Control"] == "no-store"
    foreign, _ = api.runtime.api_keys.create("other", ["operate"])
    problem(api.call("GET", f"/v1/invocations/{ref}/request"), 403, "forbidden")
    problem(api.call("GET", f"/v1/invocations/{ref}/request", key=foreign), 404, "not_found")
    problem(api.call("GET", f"/v1/invocations/{ref[:-1]}/request", key=api.operator_key), 404, "not_found")


@pytest.mark.parametrize(("body", "given"), [
    ({}, []),
    ({"data": None, "headers": {}, "queryParams": {}}, []),
    ({"data": {}, "headers": {"X-Locale": "en-GB"}}, ["/data", "/headers", "/headers/X-Locale"]),
])  # fmt: skip
def test_an_outline_has_only_what_the_caller_gave(api, body, given):
    ref = api.trigger(body=body, prefer="respond-async").json()["referenceId"]
    assert [part["pointer"] for part in outline(api, ref).json()["parts"]] == given


@pytest.mark.parametrize(("count", "is_whole"), [(MAX_PARTS // 2, True), (MAX_PARTS, False)])
def test_an_outline_says_whether_it_has_all_parts(api, count, is_whole):
    data = {f"m{number}": 1 for number in range(count)}
    ref = api.trigger(body={"data": data}, prefer="respond-async").json()["referenceId"]
    told = outline(api, ref).json()
    assert (told["complete"], told["missing"]) == (is_whole, None)
    assert {part["pointer"] for part in told["parts"]} >= {f"/data/m{number}" for number in range(MAX_PARTS // 2)}


def test_why_a_request_has_no_outline_is_said(api):
    refused = api.trigger(body={"headers": {"X-Unknown": "1"}}).json()["referenceId"]
    assert outline(api, refused).json() == {"parts": [], "complete": False, "missing": "not_kept"}
    large = api.trigger(body={"data": {"a": "x" * 300_000}}, prefer="respond-async").json()["referenceId"]
    assert outline(api, large).json()["missing"] == "too_large"


def test_a_request_that_does_not_open_has_no_outline(api):
    damaged, gone = (api.trigger(body={"data": {"a": 1}}, prefer="respond-async").json()["referenceId"] for _ in "ab")
    api.queue.set(KEYS.payload(damaged), b"\x01garbage")
    api.queue.delete(KEYS.payload(gone))
    for ref, missing in ((damaged, "unreadable"), (gone, "not_kept")):
        assert outline(api, ref).json() == {"parts": [], "complete": False, "missing": missing}


def test_a_rejected_record_is_shown_without_a_result(api):
    ref = api.trigger("nothing").json()["referenceId"]
    record = api.call("GET", f"/v1/invocations/{ref}").json()
    assert (record["state"], record["result"], record["revision"]) == ("rejected", None, None)


def test_an_unfinished_record_is_shown_at_once_without_a_preference(api):
    ref = accepted(api)
    answer = api.call("GET", f"/v1/invocations/{ref}")
    assert (answer.status_code, answer.json()["state"], answer.json()["result"]) == (200, "queued", None)
    assert answer.elapsed.total_seconds() < 5


def test_a_long_poll_ends_with_the_invocation(api):
    ref = accepted(api)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(api.call, "GET", f"/v1/invocations/{ref}", headers={"Prefer": "wait=40"}, timeout=60)
        time.sleep(0.4)
        api.settle([ref], data="done")
        answer = waiting.result()
    assert answer.elapsed.total_seconds() < 30
    assert (answer.json()["state"], answer.json()["result"]["data"]) == ("delivered", "done")
    assert answer.headers["Preference-Applied"] == "wait=40"


def test_a_long_poll_ends_after_the_asked_time(api):
    ref = accepted(api)
    answer = api.call("GET", f"/v1/invocations/{ref}", headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert 0.9 < answer.elapsed.total_seconds() < 1 + BUSY_S


def test_many_may_wait_for_the_same_invocation(api):
    ref = accepted(api)
    with ThreadPoolExecutor(8) as pool:
        polls = [
            pool.submit(api.call, "GET", f"/v1/invocations/{ref}", headers={"Prefer": "wait=10"}) for _ in range(8)
        ]
        time.sleep(0.5)
        api.settle([ref], data="all")
        assert [poll.result().json()["state"] for poll in polls] == ["delivered"] * 8


def test_whoever_follows_an_older_invocation_waits_for_that_one_alone(api):
    ref = accepted(api)
    waiters = Waiters(SimpleNamespace(process="another"), api.store, 8)
    for name in (ref, "new"):
        with closing(waiters.expect(name, ("acme", "order"))) as expectation:
            assert expectation.follow(Accepted(AcceptVerdict.KNOWN, ref, State.QUEUED)).state is State.QUEUED
            assert list(waiters._expected) == [ref]
        assert waiters._expected == {}


@pytest.mark.parametrize("wait", ["", "wait=25"])
def test_unknown_foreign_and_malformed_ids_are_not_found_alike(api, wait):
    ref = accepted(api)
    unknown = f"{ref[:-4]}{'0000' if ref[-4:] != '0000' else '1111'}"
    headers = {"Prefer": wait} if wait else {}
    answers = [
        api.call("GET", f"/v1/invocations/{ref}", key=api.foreign_key, headers=headers),
        api.call("GET", f"/v1/invocations/{unknown}", headers=headers),
        api.call("GET", f"/v1/invocations/{uuid.uuid4()}", headers=headers),
        api.call("GET", "/v1/invocations/..%2e", headers=headers),
        api.call("GET", f"/v1/invocations/{ref.upper()}", headers=headers),
    ]
    for answer in answers:
        problem(answer, 404, "not_found")
        assert answer.elapsed.total_seconds() < 20
    assert len({answer.content for answer in answers}) == 1


def test_an_id_older_than_retention_is_expired(api):
    problem(api.call("GET", "/v1/invocations/01700000-0000-7000-8000-000000000000"), 410, "expired")


def test_a_result_that_does_not_open_is_named_as_damaged_without_details(api):
    ref = accepted(api)
    api.settle([ref], data="x")
    api.queue.set(KEYS.result(ref), b"\x01garbage")
    answer = api.call("GET", f"/v1/invocations/{ref}")
    assert (answer.status_code, answer.json()["damaged"]) == (200, ["result"])
    assert answer.json()["result"] == {"status": 200, "data": None, "error": False}
    assert "key" not in answer.text.lower()


@pytest.mark.parametrize("fields", [(), ("requestBytes",), ("requestBytes", "responseBytes")], ids="+".join)
@pytest.mark.parametrize("opens", [True, False])
def test_everything_that_is_damaged_is_named_together(api, fields, opens):
    ref = accepted(api)
    api.settle([ref], data="x")
    for field in fields:
        api.queue.hset(KEYS.record(ref), field, "planted")
    if not opens:
        api.queue.set(KEYS.result(ref), b"\x01garbage")
    record = api.call("GET", f"/v1/invocations/{ref}").json()
    assert record.get("damaged", []) == [*fields, *([] if opens else ["result"])]
    assert record["result"] == {"status": 200, "data": "x" if opens else None, "error": False}


def test_health_is_the_process_and_readiness_needs_a_worker(api):
    assert requests.get(f"{api.url}/healthz", timeout=5).json() == {"status": "ok"}
    api.queue.delete(keyspace.shared("workers"))
    problem(requests.get(f"{api.url}/readyz", timeout=5), 503, "unavailable", also=READINESS)
    api.beat("w1", "interactive", "bulk", "replay")
    ready = requests.get(f"{api.url}/readyz", timeout=5)
    assert (ready.status_code, ready.json()["workers"]) == (200, 1)


LANE_SETS = [lanes for size in range(4) for lanes in itertools.combinations(("interactive", "bulk", "replay"), size)]


@pytest.mark.parametrize("served", LANE_SETS, ids=lambda lanes: "+".join(lanes) or "none")
def test_readiness_counts_the_workers_of_each_lane_and_names_the_lanes_that_have_none(api, served):
    api.queue.delete(keyspace.shared("workers"))
    for number in range(2):
        api.beat(f"w{number}", *served)
    answer = requests.get(f"{api.url}/readyz", timeout=5)
    found = answer.json()
    assert found["lanes"] == {lane: 2 * (lane in served) for lane in ("interactive", "bulk", "replay")}
    unserved = [warning for warning in found["warnings"] if "No worker serves" in warning]
    assert [lane for lane in found["lanes"] if any(f"lane {lane}:" in each for each in unserved)] == [
        lane for lane in ("interactive", "bulk", "replay") if lane not in served
    ]
    if "interactive" in served:
        assert (answer.status_code, found["status"]) == (200, "ready")
    else:
        problem(answer, 503, "unavailable", also=READINESS)


@pytest.mark.parametrize(("silent_ms", "alive"), [(1_000, 1), (4_500, 0)])
def test_a_worker_that_is_silent_for_four_seconds_counts_as_gone(api, silent_ms, alive):
    api.queue.delete(keyspace.shared("workers"))
    api.beat("w1", "interactive")
    api.queue.zincrby(keyspace.shared("workers"), -silent_ms, "w1")
    assert requests.get(f"{api.url}/readyz", timeout=5).json()["lanes"]["interactive"] == alive


def test_readiness_warns_of_server_settings_that_break_a_promise(valkey):
    with valkey.client() as client:
        config = client.config_get("appendonly", "maxmemory-policy")
        try:
            client.config_set("appendonly", "no")
            client.config_set("maxmemory-policy", "allkeys-lru")
            off, policy = ServerWarnings(client).now()
            client.config_set("appendonly", "yes")
            client.config_set("maxmemory-policy", "noeviction")
            warnings = ServerWarnings(client)
            assert warnings.now() == ()
            client.config_set("maxmemory-policy", "allkeys-lru")
            assert warnings.now() == (), "looked again within ten seconds"
        finally:
            for name, value in config.items():
                client.config_set(name, value)
    assert "append-only" in off
    assert "noeviction" in policy


def test_the_browser_module_is_served_to_any_page(api):
    answer = requests.get(f"{api.url}/webhooks.js", timeout=5)
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "export" in answer.text
    again = requests.get(f"{api.url}/webhooks.js", headers={"If-None-Match": answer.headers["ETag"]}, timeout=5)
    assert (again.status_code, again.content) == (304, b"")
