"""The client for asyncio: the same names and parameters as the other client; its calls hold neither thread nor loop."""

import asyncio
import base64
import contextlib
import inspect
import io
import json
import threading
import time
from array import array
from collections import UserDict
from types import MappingProxyType

import pytest

from relay import AsyncRelay, Relay, errors
from relay.client.async_relay import AsyncWebhooks
from relay.client.async_transport import AsyncTransport
from relay.client.bulk import copy_items, write
from relay.client.calls import Webhooks
from relay.client.copies import copy_trigger
from relay.client.exchange import Request
from relay.client.frozen import LARGE_BYTES, Frozen, freeze
from relay.process.descriptors import allow_calls
from tests.receivers import make_authority
from tests.timing import BUSY_S, least, wait_until
from tests.unit.fake_relay import KEY, FakeRelay, HangUp, Reply, Silence, Webhook

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
    assert set(vars(Relay("http://a", "k"))) - {"_transport"} <= set(vars(AsyncRelay("http://a", "k")))
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


@pytest.mark.parametrize("callers", [1, 2, 5])
def test_as_many_callers_are_under_way_as_were_asked_for_and_no_more(callers):
    async def main():
        here, most, turn = 0, 0, asyncio.Event()

        async def answer(_reader):
            nonlocal here, most
            here += 1
            most = max(most, here)
            if here == callers:
                turn.set()  # the first wait for one another; all later ones go through
            await turn.wait()
            await asyncio.sleep(0)
            here -= 1

        async with relay_of(answer) as base_url, AsyncRelay(base_url, KEY, callers=callers) as relay:
            await asyncio.gather(*(relay.trigger("order") for _ in range(20)))
        return most

    assert asyncio.run(main()) == callers


RESULT = json.dumps({"referenceId": "r", "status": 200, "data": None, "error": False}).encode()


@contextlib.asynccontextmanager
async def relay_of(answer, **tls):
    """A relay in this event loop, as a test of threads needs it; it reads a request and leaves the rest to ``answer``."""

    async def serve(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                await reader.readexactly(int(head.partition("content-length:")[2].partition("\r\n")[0] or 0))
                if await answer(reader) is not None:
                    break
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(RESULT), RESULT))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024, **tls)
    async with server:
        yield "http{}://127.0.0.1:{}".format("s" if tls else "", server.sockets[0].getsockname()[1])


def test_five_hundred_waiting_callers_hold_no_thread():
    allow_calls(1000)  # both ends of the connections are in this process

    async def main():
        waiting, all_here, seen = 0, asyncio.Event(), []

        async def answer(_reader):
            nonlocal waiting
            waiting += 1
            if waiting == 500:
                seen.extend(set(threading.enumerate()) - before)
                all_here.set()
            await all_here.wait()

        before = set(threading.enumerate())  # one that an earlier test left may end meanwhile
        async with relay_of(answer) as base_url, AsyncRelay(base_url, KEY) as relay:
            answers = await asyncio.gather(*(relay.trigger("order", {"n": n}) for n in range(500)))
        assert [each["status"] for each in answers] == [200] * 500
        assert waiting == 500
        assert seen == []

    asyncio.run(main())


@pytest.mark.parametrize("end", ["cancel", "time-out"])
def test_a_cancelled_call_closes_its_connection_at_once(end):
    async def main():
        asked, hung_up = asyncio.Event(), asyncio.Event()

        async def answer(reader):
            asked.set()
            assert await reader.read() == b""
            hung_up.set()
            return "nothing"

        async with relay_of(answer) as base_url, AsyncRelay(base_url, KEY) as relay:
            if end == "cancel":
                call = asyncio.create_task(relay.trigger("order"))
                await asked.wait()
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            else:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(relay.trigger("order"), 0.3)
            await asyncio.wait_for(hung_up.wait(), BUSY_S)

    asyncio.run(main())


def test_a_cancelled_trigger_goes_on_and_can_be_asked_for_by_its_idempotency_key(fake):
    async def act(relay):
        call = asyncio.create_task(relay.trigger("slow", idempotency_key="order-7"))
        await asyncio.to_thread(wait_until, lambda: fake.invocations)
        call.cancel()
        return await relay.trigger("slow", idempotency_key="order-7")

    answer = run(fake, act)
    assert {answer["referenceId"]: "late"} == dict.fromkeys(fake.invocations, answer["data"])


def test_a_cancelled_call_leaves_its_turn_to_others(fake):
    async def act(relay):
        calls = [asyncio.create_task(relay.trigger("never")) for _ in range(3)]
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        return await relay.trigger("ok")

    assert run(fake, act, callers=1)["status"] == 200


LARGE = {
    "trigger": ("ok", {"rows": [{"id": n, "name": f"row {n}", "on": True} for n in range(60_000)]}),
    "trigger_many": ([{"webhookId": "ok", "data": {"n": n}} for n in range(20_000)],),
}


@pytest.mark.parametrize("call", LARGE)
def test_the_loop_goes_on_while_much_data_is_copied_and_written(fake, call):
    async def act(relay):
        await relay.trigger("ok")
        # For each try, and of this thread alone: one that shares its core with another takes twice as long.
        began_s = time.thread_time()
        write(copy_items([{"webhookId": "ok", "data": LARGE[call]}]).checked()[0])
        copied_s = time.thread_time()
        await getattr(relay, call)(*LARGE[call])
        return (time.thread_time() - copied_s) / (copied_s - began_s)

    assert least(lambda: run(fake, act), wanted=0.3) < 0.5


def test_the_items_of_an_iterator_are_all_sent(fake):
    items = [{"webhookId": "ok", "data": n} for n in range(3)]
    assert len(run(fake, lambda relay: relay.trigger_many(iter(items)))) == 3
    assert [item["data"] for item in fake.seen[0].json] == [0, 1, 2]


@pytest.mark.parametrize("size", [1, 2 * LARGE_BYTES])
@pytest.mark.parametrize("kind", [dict, MappingProxyType, UserDict])
def test_an_item_is_any_mapping(fake, kind, size):
    items = [kind({"webhookId": "ok", "data": {"text": "x" * size}}) for _ in range(2)]
    assert len(run(fake, lambda relay: relay.trigger_many(items))) == 2
    assert [item["data"] for item in fake.seen[0].json] == [{"text": "x" * size}] * 2


@pytest.mark.parametrize("item", [5, None, "ok", ["ok"]])
def test_an_item_that_is_not_a_mapping_is_a_type_error_before_anything_is_sent(fake, item):
    with pytest.raises(TypeError, match="must be a mapping"):
        run(fake, lambda relay: relay.trigger_many([{"webhookId": "ok"}, item]))
    assert fake.seen == []


def test_what_changes_while_much_data_waits_is_sent_as_it_was(fake):
    async def act(relay):
        data = {"rows": list(range(50_000))}
        call = asyncio.create_task(relay.trigger("ok", data))
        await asyncio.sleep(0)
        data["rows"][-1] = data["new"] = "changed"
        await call

    run(fake, act)
    assert fake.seen[-1].json["data"] == {"rows": list(range(50_000))}


@pytest.mark.parametrize("size", [0, 1, LARGE_BYTES - 100, LARGE_BYTES, LARGE_BYTES + 100, 3 * LARGE_BYTES])
def test_bytes_of_any_size_arrive_as_base64_text_alone_and_in_a_list(fake, size):
    fake.webhooks["jpeg"] = Webhook(payload_encoding="base64")
    given, text = bytes(range(256)) * (size // 256 + 1), "x" * size

    async def act(relay):
        await relay.trigger("jpeg", given)
        await relay.trigger_many([{"webhookId": "ok", "data": text}, {"webhookId": "jpeg", "data": given}])

    run(fake, act)
    one, many = (seen.json for seen in fake.seen if seen.method == "POST")
    assert base64.b64decode(one["data"]) == given
    assert (many[0]["data"], base64.b64decode(many[1]["data"])) == (text, given)


@pytest.mark.parametrize(
    ("data", "said"),
    [({"a": bytearray(100_000)}, "/data/a: is of type bytearray"), (memoryview(bytes(100_000)), "takes no bytes")],
)
def test_much_data_that_json_cannot_hold_is_refused_as_little_is(fake, data, said):
    with pytest.raises(errors.RequestRejected, match=said):
        run(fake, lambda relay: relay.trigger("ok", data))
    assert {seen.method for seen in fake.seen} <= {"GET"}


@pytest.mark.parametrize(
    ("data", "is_frozen"),
    [
        *(({"text": "x" * LARGE_BYTES}, True), (["x"] * LARGE_BYTES, True), (bytes(LARGE_BYTES), True), ("x", False)),
        *((bytearray(LARGE_BYTES), False), (array("b", bytes(LARGE_BYTES)), False), (tuple([0] * LARGE_BYTES), False)),
        ({"text": "x" * LARGE_BYTES, "file": io.BytesIO(b"x")}, False),
    ],
    ids=["dict", "list", "bytes", "short", "bytearray", "array", "tuple", "file"],
)
def test_long_plain_data_is_frozen_and_any_other_is_copied_at_once(data, is_frozen):
    assert isinstance(freeze(copy_trigger, data, data=[data]), Frozen) is is_frozen


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize(
    "value",
    [array("d", [1.5]), {"a": array("b", [1])}, {1: 2}, object()],
    ids=["doubles", "within", "number as key", "object"],
)
def test_a_value_that_json_cannot_hold_is_refused_beside_much_data_at_any_place_of_a_list(fake, value, at):
    items = [{"webhookId": "ok", "data": {"text": "x" * 100_000}} for _ in range(3)]
    items[at]["data"] = value
    with pytest.raises(errors.RequestRejected) as raised:
        run(fake, lambda relay: relay.trigger_many(items))
    assert {fault.pointer.split("/")[1] for fault in raised.value.faults} == {str(at)}
    assert fake.seen == []


def test_it_trusts_the_authority_that_it_is_given_and_no_other(tmp_path):
    async def answer(_reader):
        pass

    async def main():
        authority = make_authority(tmp_path)
        async with relay_of(answer, ssl=authority.context("127.0.0.1")) as base_url:
            async with AsyncRelay(base_url, KEY, ca_file=authority.ca_file) as relay:
                assert (await relay.trigger("order"))["status"] == 200
            async with AsyncRelay(base_url, KEY, tries=1) as relay:
                with pytest.raises(errors.Unavailable):
                    await relay.trigger("order")

    asyncio.run(main())


def test_the_environment_and_the_relays_cookies_are_ignored(fake, misleading_environ):
    async def act(relay):
        for _ in range(2):
            await relay.trigger("ok")

    result = {"referenceId": "r", "status": 200, "data": 1, "error": False}
    fake.faults.append(Reply(200, result, {"Set-Cookie": "a=b"}))
    fake.base_url = fake.base_url.replace("127.0.0.1", "localhost")  # aiohttp keeps no cookies of addresses
    run(fake, act)
    assert len(fake.seen) == 2
    assert {(seen.headers["authorization"], seen.headers.get("cookie")) for seen in fake.seen} == {
        (f"Bearer {KEY}", None)
    }


@pytest.mark.parametrize("own_s", [None, 0.2])
def test_each_call_has_a_time_of_its_own_or_that_of_the_client(fake, own_s):
    def calls(relay):
        calls = relay.webhooks
        yield from (each("ok", timeout_s=own_s) for each in (calls.trigger, calls.trigger_async, calls.describe))
        yield from (each("r", timeout_s=own_s) for each in (calls.get, calls.wait))
        yield from (calls.available(timeout_s=own_s), calls.trigger_many([{"webhookId": "ok"}], timeout_s=own_s))

    async def act(relay):
        return await asyncio.gather(*calls(relay), return_exceptions=True)

    fake.faults += [Silence(6)] * 7  # after which it would be answered
    ended = run(fake, act, timeout_s=0.2 if own_s is None else 60, tries=1)
    assert [type(each) for each in ended] == [errors.Unavailable] * 7


def test_a_redirect_is_not_followed(fake):
    fake.faults.append(Reply(302, None, {"Location": f"{fake.base_url}/v1/webhooks"}))
    with pytest.raises(errors.Internal):
        run(fake, lambda relay: relay.webhooks.available())
    assert len(fake.seen) == 1


@pytest.mark.parametrize("tries", [1, 3])
def test_a_lost_connection_is_tried_so_often_and_no_more(fake, tries, monkeypatch):
    monkeypatch.setattr("relay.client.exchange.PAUSE_FIRST_S", 0.001)

    async def act(relay):
        await relay.webhooks.available()  # so that there is a connection
        fake.faults += [HangUp()] * 20
        with pytest.raises(errors.Unavailable):
            await relay.webhooks.available()

    run(fake, act, tries=tries)
    assert len(fake.seen) == 1 + tries


def test_a_pause_is_as_long_as_the_relay_asked_for_and_leaves_the_loop_to_others(fake, monkeypatch):
    pauses = []

    async def sleep(delay_s):
        pauses.append(delay_s)

    monkeypatch.setattr("relay.client.async_transport.asyncio.sleep", sleep)
    fake.faults.append(Reply(503, {"code": "unavailable"}, {"retry-after": "7"}))
    assert run(fake, lambda relay: relay.trigger("ok"))["status"] == 200
    assert [int(each) for each in pauses] == [7]


def test_an_answer_that_comes_byte_by_byte_without_end_is_given_up():
    async def serve(_reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.01)

    def flow(base_url):
        return (yield Request("GET", base_url, {}, None, 0.1, 0.1))

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        transport = AsyncTransport(None, 1)
        came = await transport.run(flow(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
        await transport.close()
        server.close()
        return came

    assert isinstance(asyncio.run(asyncio.wait_for(main(), BUSY_S)), TimeoutError)


def test_it_is_closed_more_than_once_and_waits_for_what_is_under_way(fake):
    async def main():
        async with AsyncRelay(fake.base_url, KEY) as relay:
            call = asyncio.create_task(relay.trigger("slow"))
            await asyncio.sleep(0.1)
            await relay.close()
            assert (await call)["data"] == "late"

    asyncio.run(main())


def test_two_that_close_it_at_once_do_not_wait_for_each_other(fake):
    async def act(relay):
        calls = [asyncio.create_task(relay.trigger("slow")) for _ in range(3)]
        await asyncio.to_thread(wait_until, lambda: len(fake.seen) == 3)
        await asyncio.wait_for(asyncio.gather(relay.close(), relay.close()), BUSY_S)
        return [(await call)["status"] for call in calls]

    assert run(fake, act, callers=5) == [200, 200, 200]


def test_a_call_that_waits_for_its_turn_when_the_client_is_closed_is_not_begun(fake):
    async def main():
        async with AsyncRelay(fake.base_url, KEY, callers=1) as relay:
            first, second = (asyncio.create_task(relay.trigger(name)) for name in ("slow", "ok"))
            await asyncio.sleep(0)  # both have come to where they wait
            await relay.close()
            assert (await first)["data"] == "late"
            with pytest.raises(RuntimeError):
                await second

    asyncio.run(main())
    assert len(fake.seen) == 1


@pytest.mark.parametrize("callers", [0, -1])
def test_it_is_not_made_for_no_callers(callers):
    with pytest.raises(ValueError, match="at least 1"):
        AsyncRelay("http://a", "k", callers=callers)


def test_closing_leaves_no_thread_and_begins_nothing_more(fake):
    async def main():
        relay = AsyncRelay(fake.base_url, KEY)
        await relay.trigger("ok")
        await relay.close()
        with pytest.raises(RuntimeError):
            await relay.trigger("ok")

    before = set(threading.enumerate())
    asyncio.run(main())
    after = set(threading.enumerate()) - before
    assert all("process_request_thread" in thread.name for thread in after)  # the fake relay's
