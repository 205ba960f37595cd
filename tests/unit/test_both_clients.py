"""Generated calls, against a relay with generated faults: the client for asyncio does and says what the plain one does."""

import asyncio
import inspect
import itertools
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay import AsyncRelay, Relay, errors
from relay.client.calls import Webhooks
from tests.depth import examples
from tests.unit.fake_relay import KEY, FakeRelay, HangUp, Reply, Webhook, problem

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
WEBHOOKS = {
    "ok": Webhook(data={"a": 1}),
    "jpeg": Webhook(payload_encoding="base64"),
    "form": Webhook(payload="multipart"),
    "fails": Webhook(status=500, data="broken"),
    "later": Webhook(at_request=2, data="late"),
    "misfit": Webhook(at_request=2, state="rejected", outcome="request_rejected"),
    "stopped": Webhook(at_request=2, state="cancelled"),
}

ids = st.sampled_from([*WEBHOOKS, "nobody", "", "..", "a/b", "ä %40 %2F"])
texts = st.text(max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.integers(), inner, max_size=3),
    max_leaves=6,
)
members = st.none() | st.dictionaries(texts, texts | st.integers() | st.none(), max_size=2)
keys = st.sampled_from([None, "order-7", "line\nbreak"])
options = st.fixed_dictionaries({"path_params": members, "subject": st.none() | texts, "idempotency_key": keys})
triggers = st.tuples(st.sampled_from(["trigger", "trigger_async"]), st.tuples(ids, values, members, members), options)
items = st.fixed_dictionaries(
    {"webhookId": ids, "data": values, "idempotencyKey": st.sampled_from(["a", "b"])}, optional={"subject": texts}
)
calls = st.one_of(
    triggers,
    st.tuples(st.just("trigger_many"), st.tuples(st.lists(items, max_size=3)), st.just({})),
    st.tuples(st.sampled_from(["describe", "get", "wait"]), st.tuples(ids), st.just({})),
    st.just(("available", (), {})),
)
faults = st.sampled_from(
    [
        HangUp(),
        HangUp(accept=True),
        problem(429, "rate_limited"),
        problem(503, "unavailable"),
        Reply(503, {"code": "unavailable"}, {"Retry-After": "0"}),
        Reply(503, {"code": "unavailable"}, {"Retry-After": "40"}),
        problem(401, "unauthenticated"),
        problem(413, "too_large"),
        problem(422, "request_rejected", errors=[{"pointer": "/data/a", "message": "no"}], referenceId="r-1"),
        problem(451, "new_in_2030"),
        Reply(302, None, {"Location": "http://127.0.0.1:9/"}),
        Reply(404, raw=b"<html>"),
        Reply(200, raw=b"[" * 100_000),
    ]
)


@pytest.fixture(scope="module")
def fake():
    with FakeRelay(**WEBHOOKS) as relay:
        yield relay


@pytest.fixture(scope="module", autouse=True)
def short_pauses():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("relay.client.exchange.PAUSE_FIRST_S", 0.001)
        patch.setattr("relay.client.flows.PAUSE_FIRST_S", 0.001)
        yield


def plainly(base_url, name, given, options):
    with Relay(base_url, KEY, tries=3) as relay:
        return getattr(relay.webhooks, name)(*given, **options)


def awaited(base_url, name, given, options):
    async def act():
        async with AsyncRelay(base_url, KEY, tries=3) as relay:
            return await getattr(relay.webhooks, name)(*given, **options)

    return asyncio.run(act())


def came_of(fake, act, call, faults):
    """Make a call at a relay that has only just begun; return its outcome and the requests, with new ids left out."""
    fake.reset()
    fake.faults.extend(faults)
    try:
        outcome = act(fake.base_url, *call)
    except (errors.RelayError, TypeError) as error:
        outcome = type(error), str(error), vars(error), error.__cause__ is None
    sent = [(seen.method, seen.path, {name: seen.headers.get(name) for name in SENT}, seen.body) for seen in fake.seen]
    return UUID.sub("<id>", repr(outcome)), UUID.sub("<id>", repr(sent))


#: What a call may be given beside the webhook's id, and what arrives of it.
GIVEN = {
    "data": ({"a": [1]}, {"data": {"a": [1]}}),
    "headers": ({"X": "v"}, {"headers": {"X": "v"}}),
    "query_params": ({"p": 1}, {"queryParams": {"p": 1}}),
    "path_params": ({"id": "z"}, {"pathParams": {"id": "z"}}),
    "subject": ("4711", {"subject": "4711"}),
    "idempotency_key": ("order-7", {}),
    "delay_s": (90.5, {"delay": 90.5}),
}


@pytest.mark.parametrize("act", [plainly, awaited])
@pytest.mark.parametrize("name", ["trigger", "trigger_async"])
def test_all_that_a_call_may_be_given_arrives_alone_and_with_all_else(fake, act, name):
    may = [each for each in GIVEN if each in inspect.signature(getattr(Webhooks, name)).parameters]
    assert len(may) == {"trigger": 6, "trigger_async": 7}[name]
    webhook_id = {"trigger": "ok", "trigger_async": "later"}[name]
    for chosen in (*([each] for each in may), *itertools.combinations(may, 2), may):
        fake.reset()
        act(fake.base_url, name, (webhook_id,), {each: GIVEN[each][0] for each in chosen})
        (seen,) = fake.seen
        assert seen.json == {key: value for each in chosen for key, value in GIVEN[each][1].items()}
        assert (seen.headers["idempotency-key"] == "order-7") == ("idempotency_key" in chosen)
        assert seen.headers["prefer"] == {"trigger": "wait=30", "trigger_async": "respond-async"}[name]


SENT = ("authorization", "content-type", "content-length", "user-agent", "idempotency-key", "prefer", "cookie")


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(call=calls, faults=st.lists(faults, max_size=4))
def test_the_same_call_sends_the_same_and_ends_the_same(fake, call, faults):
    assert came_of(fake, awaited, call, faults) == came_of(fake, plainly, call, faults)


@pytest.mark.parametrize("kind", [Relay, AsyncRelay])
@pytest.mark.parametrize("name", ["trigger", "trigger_async", "trigger_many", "get", "wait"])
def test_a_client_has_the_calls_that_are_made_most_itself(kind, name):
    client = kind("http://a", "k")
    assert getattr(client, name) == getattr(client.webhooks, name)
