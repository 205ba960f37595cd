"""The client for asyncio: the same names and parameters as the other client, and it never blocks the event loop."""

import asyncio
import inspect
import threading
import time

import pytest

from relay import AsyncRelay, Relay, errors
from relay.client.async_relay import AsyncWebhooks
from relay.client.calls import Webhooks
from tests.unit.fake_relay import KEY, FakeRelay, Webhook

CALLS = [name for name in vars(Webhooks) if not name.startswith("_")]


@pytest.fixture
def fake():
    with FakeRelay(
        ok=Webhook(data={"a": 1}), slow=Webhook(seconds=1.0, data="late"), never=Webhook(seconds=600)
    ) as relay:
        yield relay


def run(fake, act, **options):
    """Run a coroutine of the client; return its result."""

    async def main():
        async with AsyncRelay(fake.base_url, KEY, **options) as relay:
            return await act(relay)

    return asyncio.run(main())


@pytest.mark.parametrize("name", CALLS)
def test_every_call_has_a_counterpart_with_the_same_parameters(name):
    counterpart = getattr(AsyncWebhooks, name)
    assert inspect.iscoroutinefunction(counterpart)
    assert inspect.signature(counterpart) == inspect.signature(getattr(Webhooks, name))


def test_it_is_made_as_the_plain_one_with_how_many_may_call_at_once():
    ours, theirs = inspect.signature(AsyncRelay).parameters, inspect.signature(Relay).parameters
    assert dict(ours) == {**theirs, "callers": ours["callers"]}
    assert set(vars(Relay("http://a", "k"))) - {"_wire"} <= set(vars(AsyncRelay("http://a", "k")))
    assert "secret" not in repr(AsyncRelay("http://a", "secret"))


def test_it_triggers_waits_looks_up_and_lists(fake):
    async def act(relay):
        answer = await relay.webhooks.trigger("ok", {"x": 1}, {"X-Name": "v"}, {"page": 1})
        accepted = await relay.trigger_async("slow")
        waited = await relay.wait(accepted["referenceId"])
        record = await relay.get(accepted["referenceId"])
        many = await relay.trigger_many([{"webhookId": "slow"}, {"webhookId": "slow"}])
        return answer, waited, record, many

    answer, waited, record, many = run(fake, act)
    assert (answer["status"], answer["data"], answer["error"]) == (200, {"a": 1}, False)
    assert waited["referenceId"] == record["referenceId"]
    assert [set(each) for each in many] == [{"referenceId", "state"}] * 2
    assert fake.seen[0].json == {"data": {"x": 1}, "headers": {"X-Name": "v"}, "queryParams": {"page": 1}}


def test_it_raises_what_the_client_without_asyncio_raises(fake):
    with pytest.raises(errors.WebhookNotRegistered) as raised:
        run(fake, lambda relay: relay.trigger("nobody-knows"))
    assert raised.value.reference_id
    with pytest.raises(TimeoutError):
        run(fake, lambda relay: relay.trigger("never", timeout_s=0.2))


def test_callers_wait_beside_one_another_and_the_loop_goes_on(fake):
    async def act(relay):
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        began_s = time.monotonic()
        answers = await asyncio.gather(*(relay.trigger("slow") for _ in range(20)))
        ticking.cancel()
        return answers, time.monotonic() - began_s, ticks

    answers, took_s, ticks = run(fake, act)
    assert [each["data"] for each in answers] == ["late"] * 20
    assert took_s < 15  # in sequence they take 20
    assert ticks > 10


def test_no_more_callers_are_under_way_than_were_asked_for(fake):
    run(fake, lambda relay: asyncio.gather(*(relay.trigger_async("slow") for _ in range(10))), callers=1)
    assert len(fake.seen) == 10


def test_closing_leaves_no_thread_and_begins_nothing_more(fake):
    async def main():
        relay = AsyncRelay(fake.base_url, KEY)
        await relay.trigger("ok")
        await relay.close()
        with pytest.raises(RuntimeError):
            await relay.trigger("ok")

    asyncio.run(main())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("relay-client")]
