"""Chains on real workers: what the caller gets, what the records keep, and how they end."""

from __future__ import annotations

import json
import time

import pytest

from relay.errors import Conflict
from relay.invocation import Outcome, State
from tests.integration.worker_house import until, worker_house
from tests.receivers import raw_answer, receiver

TOKEN = "t0ken-made-by-login-77"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with worker_house(tmp_path_factory, RELAY_LEASE_MARGIN="2") as house:
        house.start_worker()
        yield house


@pytest.fixture
def site():
    """An endpoint with pages; what each got is kept by its path."""

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


def steps_of(house, ref):
    return [house.record(step) for step in house.record(ref).steps]


def test_a_token_of_one_step_is_used_in_the_next_and_shown_to_nobody(house, site):
    site["/login"] = lambda _: {"token": TOKEN}
    site["/orders"] = lambda request: {"echo": request.header("authorization"), "id": 7}
    house.register(
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
    ref = house.trigger("submit", {"item": 1})
    record = house.final(ref)
    assert (record.state, record.status, record.error) == (State.DELIVERED, 200, False)
    assert site.got["/orders"][0].header("authorization") == f"Bearer {TOKEN}"
    assert json.loads(site.got["/orders"][0].body) == {"item": 1}
    assert house.data(ref)["id"] == 7
    everything = [house.data(each) for each in (ref, *record.steps)]
    assert TOKEN not in json.dumps(everything)
    assert [step.webhook_id for step in steps_of(house, ref)] == ["login", "order"]
    assert not list(house.runtime.client.scan_iter("relay:inv:*:raw"))


def test_a_step_in_error_ends_the_chain_with_its_own_answer(house, site):
    site["/one"] = lambda _: (409, {"why": "taken"})
    site["/two"] = lambda _: {}
    house.register(
        hook(site, "one", "/one"),
        hook(site, "two", "/two"),
        {"id": "stops", "steps": [{"webhook": "one"}, {"webhook": "two"}]},
    )
    ref = house.trigger("stops")
    record = house.final(ref)
    assert (record.state, record.status, record.error) == (State.DELIVERED, 409, True)
    assert house.data(ref) == {"why": "taken"}
    assert "/two" not in site.got


def test_a_chain_may_go_on_after_an_error_skip_steps_and_say_what_it_returns(house, site):
    site["/one"] = lambda _: (500, {"why": "broken"})
    site["/two"] = lambda _: {"n": 2}
    house.register(
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
    ref = house.trigger("goes-on")
    assert house.final(ref).status == 200
    assert house.data(ref) == {"first": 500, "skipped": None, "last": 2}
    assert len(site.got["/two"]) == 1


def test_a_fan_out_calls_once_for_each_element_and_keeps_their_order(house, site):
    site["/each"] = lambda request: (400 if json.loads(request.body)["n"] == 3 else 200, json.loads(request.body))
    house.register(
        hook(site, "each", "/each", concurrency=2),
        {"id": "fan", "steps": [{"webhook": "each", "forEach": "input.data", "data": "{n: item}"}]},
    )
    ref = house.trigger("fan", [1, 2, 3, 4])
    record = house.final(ref)
    assert (record.status, record.error) == (400, True)
    assert [(each["status"], each["data"]["n"]) for each in house.data(ref)] == [(200, 1), (200, 2), (400, 3), (200, 4)]
    assert [step.step_of.item for step in steps_of(house, ref)] == [0, 1, 2, 3]


def test_an_empty_fan_out_is_a_finished_step(house, site):
    house.register(
        hook(site, "each", "/each"),
        {"id": "none", "steps": [{"webhook": "each", "forEach": "input.data", "data": "item"}]},
    )
    ref = house.trigger("none", [])
    assert (house.final(ref).status, house.data(ref)) == (204, [])


def test_a_chain_within_a_chain_ends_before_the_outer_one_goes_on(house, site):
    site["/deep"] = lambda _: {"token": TOKEN}
    site["/after"] = lambda request: json.loads(request.body)
    house.register(
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
    ref = house.trigger("outer")
    assert house.final(ref).state is State.DELIVERED
    assert json.loads(site.got["/after"][0].body) == {"token": TOKEN}
    assert house.data(ref) == {"token": "[redacted]"}
    (inner, _) = steps_of(house, ref)
    assert house.data(inner.reference_id) == {"token": "[redacted]"}


def test_a_token_that_a_chain_hands_down_to_a_chain_within_it_is_hidden_there_too(house, site):
    site["/login"] = lambda _: {"token": TOKEN}
    site["/echo"] = lambda request: {"got": json.loads(request.body)}
    house.register(
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
    ref = house.trigger("above")
    assert house.final(ref).state is State.DELIVERED
    assert json.loads(site.got["/echo"][0].body) == {"token": TOKEN}
    below = steps_of(house, ref)[1]
    shown = [house.data(each) for each in (ref, below.reference_id, *below.steps)]
    assert shown == [{"got": {"token": "[redacted]"}}] * 3


def test_a_step_that_cannot_be_made_ends_the_chain_and_says_why_to_operators_only(house, site):
    site["/one"] = lambda _: {"name": ["not", "a", "text"]}
    house.register(
        hook(site, "one", "/one"),
        hook(site, "two", "/two", headers={"X-Name": None}),
        {
            "id": "cannot",
            "steps": [{"webhook": "one"}, {"webhook": "two", "headers": {"X-Name": "steps[0].data.name"}}],
        },
    )
    record = house.final(house.trigger("cannot"))
    assert (record.state, record.outcome, record.status) == (State.UNREACHABLE, Outcome.STEP_REJECTED, 0)
    assert record.extra["reason"].startswith("step 1: /headers/X-Name")


def test_a_chains_time_bounds_the_whole_and_a_late_step_revives_nothing(house, site):
    site["/slow"] = lambda _: time.sleep(2.5) or {"late": True}
    site["/later"] = lambda _: {}
    house.register(
        hook(site, "slow", "/slow"),
        hook(site, "later", "/later"),
        {"id": "short", "timeout": 1, "steps": [{"webhook": "slow"}, {"webhook": "later"}]},
    )
    ref = house.trigger("short")
    began = time.monotonic()
    record = house.final(ref)
    assert time.monotonic() - began < 2.4
    assert (record.state, record.outcome) == (State.UNREACHABLE, Outcome.CHAIN_TIMEOUT)
    (late,) = record.steps
    assert house.final(late).state is State.DELIVERED
    assert house.data(late) is None  # what the chain would have hidden in it is not known any more
    assert house.record(ref) == record
    assert "/later" not in site.got


def test_a_waiting_chain_can_be_cancelled_with_its_unsent_steps(house, site):
    site["/held"] = lambda _: {}
    house.register(hook(site, "held", "/held"), {"id": "stopped", "steps": [{"webhook": "held"}]})
    house.runtime.policies.pause("acme", "held")
    ref = house.trigger("stopped")
    until(lambda: house.runtime.policies.traffic("acme", "held").parked == 1, 10)
    assert house.record(ref).state is State.WAITING
    house.store.cancel(ref)
    for ready in house.runtime.policies.resume("acme", "held"):
        house.runtime.publisher.publish_ready(ready)
    assert [step.state for step in steps_of(house, ref)] == [State.CANCELLED]
    assert "/held" not in site.got


def test_a_webhook_that_a_chain_uses_cannot_be_removed(house, site):
    house.register(hook(site, "used", "/used"), {"id": "user", "steps": [{"webhook": "used"}]})
    with pytest.raises(Conflict, match="user"):
        house.runtime.registry.remove("acme", "used")


def test_a_chain_runs_with_the_revisions_that_it_was_accepted_with(house, site):
    site["/old"] = lambda _: {"v": "old"}
    site["/new"] = lambda _: {"v": "new"}
    house.register(hook(site, "changing", "/old"), {"id": "pinned", "steps": [{"webhook": "changing"}]})
    house.runtime.policies.pause("acme", "changing")
    ref = house.trigger("pinned")
    until(lambda: house.runtime.policies.traffic("acme", "changing").parked == 1, 10)
    house.register(hook(site, "changing", "/new"))
    for ready in house.runtime.policies.resume("acme", "changing"):
        house.runtime.publisher.publish_ready(ready)
    house.final(ref)
    assert house.data(ref) == {"v": "old"}
