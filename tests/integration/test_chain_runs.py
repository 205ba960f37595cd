"""Chains on real workers: what the caller gets, what the records keep, and how they end."""

from __future__ import annotations

import json
import threading

import pytest

from relay.domain.invocation import Outcome, State
from relay.errors import Conflict
from relay.vault import Vault
from tests.integration.worker_harness import worker_harness
from tests.receivers import raw_answer, receiver
from tests.store_keys import KEYS
from tests.timing import BUSY_S, wait_until

TOKEN = "t0ken-made-by-login-77"


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory, RELAY_LEASE_MARGIN="2") as harness:
        harness.start_worker()
        yield harness


@pytest.fixture
def site():
    """An endpoint with pages; it keeps what each page received, by path."""

    def serve(connection, request):
        path = request.target.split("?")[0]
        pages.got.setdefault(path, []).append(request)
        answer = pages[path](request)
        status, value = answer if isinstance(answer, tuple) else (200, answer)
        connection.send(raw_answer(status, json.dumps(value).encode(), ("Content-Type", "application/json")))

    class Pages(dict):
        def __init__(self):
            super().__init__()
            self.got = {}

    pages = Pages()
    with receiver(serve) as endpoint:
        pages.origin = f"http://127.0.0.1:{endpoint.port}"
        yield pages


def hook(site, webhook_id, path, **fields):
    return {"id": webhook_id, "url": site.origin + path, "method": "POST", "hidden": True, **fields}


def steps_of(harness, ref):
    return [harness.record(step) for step in harness.record(ref).steps]


def test_a_token_of_one_step_is_used_in_the_next_and_shown_to_nobody(harness, site):
    site["/login"] = lambda _: {"token": TOKEN}
    site["/orders"] = lambda request: {"echo": request.header("authorization"), "id": 7}
    harness.register(
        hook(site, "login", "/login"),
        hook(site, "order", "/orders", headers={"Authorization": None}),
        {
            "id": "submit",
            "steps": [
                {"webhook": "login", "mask": ["steps[0].data.token"]},
                {
                    "webhook": "order",
                    "data": "input.data",
                    "headers": {"Authorization": "join(' ', ['Bearer', steps[0].data.token])"},
                },
            ],
        },
    )
    ref = harness.trigger("submit", {"item": 1})
    record = harness.final(ref)
    assert (record.state, record.status, record.error) == (State.DELIVERED, 200, False)
    assert site.got["/orders"][0].header("authorization") == f"Bearer {TOKEN}"
    assert json.loads(site.got["/orders"][0].body) == {"item": 1}
    assert harness.data(ref)["id"] == 7
    everything = [harness.data(each) for each in (ref, *record.steps)]
    assert TOKEN not in json.dumps(everything)
    assert [step.webhook_id for step in steps_of(harness, ref)] == ["login", "order"]
    assert not list(harness.runtime.client.scan_iter("relay:{0}:inv:*:raw"))


def test_a_step_in_error_ends_the_chain_with_its_own_answer(harness, site):
    site["/one"] = lambda _: (409, {"why": "taken"})
    site["/two"] = lambda _: {}
    harness.register(
        hook(site, "one", "/one"),
        hook(site, "two", "/two"),
        {"id": "stops", "steps": [{"webhook": "one"}, {"webhook": "two"}]},
    )
    ref = harness.trigger("stops")
    record = harness.final(ref)
    assert (record.state, record.status, record.error) == (State.DELIVERED, 409, True)
    assert harness.data(ref) == {"why": "taken"}
    assert "/two" not in site.got


def test_a_chain_may_go_on_after_an_error_skip_steps_and_say_what_it_returns(harness, site):
    site["/one"] = lambda _: (500, {"why": "broken"})
    site["/two"] = lambda _: {"n": 2}
    harness.register(
        hook(site, "one", "/one"),
        hook(site, "two", "/two"),
        {
            "id": "goes-on",
            "steps": [
                {"webhook": "one", "onError": "continue"},
                {"webhook": "two", "when": "steps[0].status == `200`"},
                {"webhook": "two", "when": "steps[0].error"},
            ],
            "result": "{first: steps[0].status, skipped: steps[1], last: steps[2].data.n}",
        },
    )
    ref = harness.trigger("goes-on")
    assert harness.final(ref).status == 200
    assert harness.data(ref) == {"first": 500, "skipped": None, "last": 2}
    assert len(site.got["/two"]) == 1


def test_a_fan_out_calls_once_for_each_element_and_keeps_their_order(harness, site):
    site["/each"] = lambda request: (400 if json.loads(request.body)["n"] == 3 else 200, json.loads(request.body))
    harness.register(
        hook(site, "each", "/each", concurrency=2),
        {"id": "fan", "steps": [{"webhook": "each", "forEach": "input.data", "data": "{n: item}"}]},
    )
    ref = harness.trigger("fan", [1, 2, 3, 4])
    record = harness.final(ref)
    assert (record.status, record.error) == (400, True)
    assert [(each["status"], each["data"]["n"]) for each in harness.data(ref)] == [
        (200, 1),
        (200, 2),
        (400, 3),
        (200, 4),
    ]
    assert [step.step_of.item for step in steps_of(harness, ref)] == [0, 1, 2, 3]


def test_an_empty_fan_out_is_a_finished_step(harness, site):
    harness.register(
        hook(site, "each", "/each"),
        {"id": "none", "steps": [{"webhook": "each", "forEach": "input.data", "data": "item"}]},
    )
    ref = harness.trigger("none", [])
    assert (harness.final(ref).status, harness.data(ref)) == (204, [])


def test_a_chain_within_a_chain_ends_before_the_outer_one_goes_on(harness, site):
    site["/deep"] = lambda _: {"token": TOKEN}
    site["/after"] = lambda request: json.loads(request.body)
    harness.register(
        hook(site, "deep", "/deep"),
        hook(site, "after", "/after"),
        {"id": "inner", "hidden": True, "steps": [{"webhook": "deep", "mask": ["steps[0].data.token"]}]},
        {
            "id": "outer",
            "steps": [
                {"webhook": "inner", "mask": ["steps[0].data.token"]},
                {"webhook": "after", "data": "steps[0].data"},
            ],
        },
    )
    ref = harness.trigger("outer")
    assert harness.final(ref).state is State.DELIVERED
    assert json.loads(site.got["/after"][0].body) == {"token": TOKEN}
    assert harness.data(ref) == {"token": "[redacted]"}
    (inner, _) = steps_of(harness, ref)
    assert harness.data(inner.reference_id) == {"token": "[redacted]"}


def test_a_chain_shows_its_caller_none_of_its_steps_ids(harness, site):
    """A receiver may echo the id that each request carries; a later step may still send it."""
    site["/first"] = site["/second"] = lambda request: {
        "id": request.header("webhook-id"),
        "body": request.body.decode(),
    }
    harness.register(
        hook(site, "first", "/first"),
        hook(site, "second", "/second"),
        {"id": "within", "hidden": True, "steps": [{"webhook": "first"}]},
        {
            "id": "around",
            "steps": [
                {"webhook": "first"},
                {"webhook": "second", "data": "{request: steps[0].data.id}"},
                {"webhook": "within"},
            ],
            "result": "steps[*].data",
        },
    )
    ref = harness.trigger("around")
    assert harness.final(ref).state is State.DELIVERED
    first, second, within = steps_of(harness, ref)
    assert json.loads(site.got["/second"][0].body) == {"request": first.reference_id}
    shown = json.dumps(harness.data(ref))
    for hidden in (first.reference_id, second.reference_id, within.reference_id, *within.steps):
        assert hidden not in shown
    assert [each["id"] for each in harness.data(ref)] == ["[redacted]"] * 3


def test_a_token_that_a_chain_hands_down_to_a_chain_within_it_is_hidden_there_too(harness, site):
    site["/login"] = lambda _: {"token": TOKEN}
    site["/echo"] = lambda request: {"got": json.loads(request.body)}
    harness.register(
        hook(site, "login", "/login"),
        hook(site, "echo", "/echo"),
        {"id": "below", "hidden": True, "steps": [{"webhook": "echo", "data": "input.data"}]},
        {
            "id": "above",
            "steps": [
                {"webhook": "login", "mask": ["steps[0].data.token"]},
                {"webhook": "below", "data": "{token: steps[0].data.token}"},
            ],
        },
    )
    ref = harness.trigger("above")
    assert harness.final(ref).state is State.DELIVERED
    assert json.loads(site.got["/echo"][0].body) == {"token": TOKEN}
    below = steps_of(harness, ref)[1]
    shown = [harness.data(each) for each in (ref, below.reference_id, *below.steps)]
    assert shown == [{"got": {"token": "[redacted]"}}] * 3


def test_the_secrets_of_one_step_are_hidden_in_the_records_of_those_after_it(harness, site):
    site["/echo"] = lambda request: {"key": request.header("x-key"), "url": site.origin + "/echo"}
    site["/body"] = lambda request: {"body": request.body.decode()}
    harness.register(
        hook(site, "echoes", "/echo", headers={"X-Key": "planted-prefilled-9"}),
        hook(site, "told", "/body"),
        {"id": "inner-told", "steps": [{"webhook": "told", "data": "input.data"}]},
        {"id": "handing", "steps": [{"webhook": "echoes"}, {"webhook": "inner-told", "data": "steps[0].data"}]},
    )
    ref = harness.trigger("handing")
    record = harness.final(ref)
    (own,) = harness.record(record.steps[1]).steps
    shown = [harness.data(each) for each in (*record.steps, own, ref)]
    assert b"planted-prefilled-9" in site.got["/body"][0].body
    assert "planted" not in str(shown)
    assert site.origin.removeprefix("http://") not in str(shown)


def test_a_chain_shows_nobody_the_access_token_of_a_step(harness, site):
    site["/token"] = lambda _: {"access_token": "planted-token-1", "token_type": "Bearer", "expires_in": 300}
    site["/me"] = lambda request: {"authorization": request.header("authorization")}
    site["/next"] = lambda request: {"body": request.body.decode()}
    auth = {"type": "oauth2", "tokenUrl": site.origin + "/token", "clientId": "c", "clientSecret": "planted-secret"}
    harness.register(
        hook(site, "me", "/me", auth=auth),
        hook(site, "next", "/next"),
        {
            "id": "handing-token",
            "steps": [{"webhook": "me"}, {"webhook": "next", "data": "steps[0].data"}],
            "result": "steps[*].data",
        },
    )
    ref = harness.trigger("handing-token")
    record = harness.final(ref)
    assert site.got["/me"][0].header("authorization") == "Bearer planted-token-1"
    assert "planted" not in str([harness.data(each) for each in (*record.steps, ref)])
    assert b"planted" not in site.got["/next"][0].body


def test_secrets_that_are_changed_while_a_chain_runs_are_hidden_in_its_result(harness, site):
    secrets = harness.runtime.registry.secrets
    changed = threading.Event()
    site["/pair"] = lambda request: {"key": request.header("x-key")}
    site["/until"] = lambda _: {"is": changed.wait(60)}
    for name in ("ID", "PW"):
        secrets.set("acme", name, f"planted-{name}-1")
    harness.register(
        hook(site, "pair", "/pair", headers={"X-Key": "${secret:ID}.${secret:PW}"}),
        hook(site, "until", "/until"),
        {"id": "changing", "steps": [{"webhook": "pair"}, {"webhook": "until"}], "result": "steps[0].data"},
    )
    ref = harness.trigger("changing")
    wait_until(lambda: site.got.get("/until"), BUSY_S)
    for name in ("ID", "PW"):
        secrets.set("acme", name, f"planted-{name}-2")
    changed.set()
    assert harness.final(ref).state is State.DELIVERED
    assert harness.data(ref) == {"key": "[redacted].[redacted]"}


def test_a_chain_whose_result_is_not_searched_to_its_end_ends_as_a_call_with_such_an_answer(harness, site):
    site["/fine"] = lambda _: {"ok": True}
    result = "{ok: steps[0].data.ok, text: input.data.text}"
    harness.register(hook(site, "fine", "/fine"), {"id": "layers", "steps": [{"webhook": "fine"}], "result": result})
    record = harness.final(harness.trigger("layers", {"text": "\\" * 400_000}))
    assert (record.state, record.outcome, record.status) == (State.UNREACHABLE, Outcome.ANSWER_REJECTED, 0)
    assert harness.record(record.steps[0]).state is State.DELIVERED


@pytest.mark.parametrize("half", ["\ud800", "caf\udce9"])
@pytest.mark.parametrize(
    "place", ["value", "name", "form", "multipart", "parameter", "path", "schema", "mask", "element"]
)
def test_half_of_a_surrogate_pair_that_an_endpoint_answers_with_is_passed_on_by_no_step(harness, site, place, half):
    site["/list"] = lambda _: {half: 1} if place in {"name", "schema"} else {"a": half * 12}
    further = {
        "form": {"headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        "multipart": {"payload": "multipart"},
        "parameter": {"queryParams": ["q"]},
        "schema": {"dataSchema": {"type": "object"}},
    }
    path = "/send/{p}" if place == "path" else "/send"
    pattern = {"pathParams": {"p": {"pattern": ".*"}}} if place == "path" else {}
    mapped = {
        "parameter": {"queryParams": {"q": "steps[0].data.a"}},
        "path": {"pathParams": {"p": "steps[0].data.a"}},
        "mask": {},
        "element": {"forEach": "[steps[0].data]", "data": "item"},
    }.get(place, {"data": "steps[0].data"})
    mask = {"mask": ["steps[0].data.a"]} if place == "mask" else {}
    harness.register(
        hook(site, "list", "/list"),
        hook(site, "send", path, **further.get(place, {}), **pattern),
        {"id": "pass-on", "steps": [{"webhook": "list", **mask}, {"webhook": "send", **mapped}]},
    )
    record = harness.final(harness.trigger("pass-on", {}))
    assert (record.state, record.outcome) == (State.UNREACHABLE, Outcome.STEP_REJECTED)
    assert record.reason.startswith("step 1: ")
    assert list(site.got) == ["/list"]


def test_a_step_that_cannot_be_made_ends_the_chain_and_says_why_to_operators_only(harness, site):
    site["/one"] = lambda _: {"name": ["not", "a", "text"]}
    harness.register(
        hook(site, "one", "/one"),
        hook(site, "two", "/two", headers={"X-Name": None}),
        {
            "id": "cannot",
            "steps": [{"webhook": "one"}, {"webhook": "two", "headers": {"X-Name": "steps[0].data.name"}}],
        },
    )
    record = harness.final(harness.trigger("cannot"))
    assert (record.state, record.outcome, record.status) == (State.UNREACHABLE, Outcome.STEP_REJECTED, 0)
    assert record.reason.startswith("step 1: /headers/X-Name")


def test_a_chains_time_bounds_the_whole_and_a_late_step_revives_nothing(harness, site):
    ended = threading.Event()
    site["/slow"] = lambda _: {"late": ended.wait(60)}
    site["/later"] = lambda _: {}
    harness.register(
        hook(site, "slow", "/slow"),
        hook(site, "later", "/later"),
        {"id": "short", "timeout": 1, "steps": [{"webhook": "slow"}, {"webhook": "later"}]},
    )
    ref = harness.trigger("short")
    record = harness.final(ref)
    ended.set()
    assert (record.state, record.outcome) == (State.UNREACHABLE, Outcome.CHAIN_TIMEOUT)
    (late,) = record.steps
    assert harness.final(late).state is State.DELIVERED
    assert harness.store.result_of(late) is None  # what the chain would have masked in it is no longer known
    assert harness.record(ref) == record
    assert "/later" not in site.got


def test_a_waiting_chain_can_be_cancelled_with_its_unsent_steps(harness, site):
    site["/held"] = lambda _: {}
    harness.register(hook(site, "held", "/held"), {"id": "stopped", "steps": [{"webhook": "held"}]})
    harness.runtime.policies.pause("acme", "held")
    ref = harness.trigger("stopped")
    wait_until(lambda: harness.runtime.policies.traffic("acme", "held").parked == 1, 10)
    assert harness.record(ref).state is State.WAITING
    harness.store.cancel(ref)
    for ready in harness.runtime.policies.resume("acme", "held"):
        harness.runtime.publisher.publish_ready(ready)
    assert [step.state for step in steps_of(harness, ref)] == [State.CANCELLED]
    assert "/held" not in site.got


def test_a_webhook_that_a_chain_uses_cannot_be_removed(harness, site):
    harness.register(hook(site, "used", "/used"), {"id": "user", "steps": [{"webhook": "used"}]})
    with pytest.raises(Conflict, match="user"):
        harness.runtime.registry.remove("acme", "used")


def test_a_chain_runs_with_the_revisions_that_it_was_accepted_with(harness, site):
    site["/old"] = lambda _: {"v": "old"}
    site["/new"] = lambda _: {"v": "new"}
    harness.register(hook(site, "changing", "/old"), {"id": "pinned", "steps": [{"webhook": "changing"}]})
    harness.runtime.policies.pause("acme", "changing")
    ref = harness.trigger("pinned")
    wait_until(lambda: harness.runtime.policies.traffic("acme", "changing").parked == 1, 10)
    harness.register(hook(site, "changing", "/new"))
    for ready in harness.runtime.policies.resume("acme", "changing"):
        harness.runtime.publisher.publish_ready(ready)
    harness.final(ref)
    assert harness.data(ref) == {"v": "old"}


def test_the_api_s_keys_open_nothing_that_endpoints_told_a_chain(harness, site):
    """Answers of steps, the next step's data, and masked values are sealed for workers at all times."""
    ended, reached = threading.Event(), threading.Event()
    site["/told"] = lambda _: {"token": TOKEN}
    site["/asked"] = lambda _: {"late": reached.set() or ended.wait(60)}
    harness.register(
        hook(site, "told", "/told"),
        hook(site, "asked", "/asked", headers={"Authorization": None}),
        {
            "id": "telling",
            "steps": [
                {"webhook": "told", "mask": ["steps[0].data.token"]},
                {"webhook": "asked", "headers": {"Authorization": "join(' ', ['Bearer', steps[0].data.token])"}},
            ],
        },
    )
    ref = harness.trigger("telling")
    assert reached.wait(20)
    steps = harness.record(ref).steps
    client, data_keys = harness.runtime.client, harness.runtime.data_vault.key_ids
    told = [KEYS.raw(steps[0]), KEYS.payload(steps[1]), KEYS.secrets(ref)]
    assert [Vault.key_id_of(client.get(key)) in data_keys for key in told] == [False, False, False]
    everything = [client.get(key) for key in client.keys("relay:{0}:inv:*") if client.type(key) == b"string"]
    shown = [harness.data(step) for step in steps if harness.record(step).state.final]
    ended.set()
    harness.final(ref)
    assert TOKEN not in json.dumps(shown)
    assert not any(TOKEN.encode() in value for value in everything)
    assert not any(client.exists(key) for key in (*map(KEYS.raw, steps), KEYS.secrets(ref)))
