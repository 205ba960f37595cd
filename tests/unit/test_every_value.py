"""A value of every type, at every place of a trigger of the Python client, arrives as it was given, or is not sent."""

import array
import asyncio
import builtins
import collections
import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import http.client
import io
import ipaddress
import itertools
import json
import pathlib
import types
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import pytest
import requests
from requests.structures import CaseInsensitiveDict
from werkzeug.datastructures import MultiDict

from relay import AsyncRelay, Relay, errors
from tests.unit.fake_relay import KEY, FakeRelay, Webhook

HUGE = 10**63 + 7


class Color(enum.Enum):
    RED = "red"


class Answer(enum.StrEnum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Point(NamedTuple):
    x: int = 1
    y: int = 2


@dataclasses.dataclass
class Order:
    number: int = 1


class Raising(dict):
    def items(self):
        raise OSError


class Several(dict):
    """Shows the last of several values, as Django's QueryDict does."""

    def items(self):
        return [(name, values[-1]) for name, values in super().items()]


class MultiItems(collections.UserDict):
    """Gives all values of a name under another name, as httpx and Starlette do."""

    def multi_items(self):
        return [(name, value) for name, values in self.data.items() for value in values]


class Repeating(collections.UserDict):
    """Repeats a name, as multidict does."""

    def items(self):
        return [("a", 1), ("a", 2)]


async def forgotten():
    """Is called and not awaited."""


def cycle():
    inside = []
    inside.append({"a": inside})
    return inside


def deep(levels):
    return [deep(levels - 1)] if levels else 1


@dataclasses.dataclass
class Same:
    """What arrives equals what was given, or ``arrives``."""

    value: object
    arrives: object = None

    @property
    def expected(self):
        return self.value if self.arrives is None else self.arrives


#: Values that arrive; the others have to be refused.
TAKEN = {
    "bool": Same(value=True),
    "int": Same(-HUGE),
    "float": Same(0.1 + 0.2),
    "a large float": Same(1.7976931348623157e308),
    "minus zero": Same(-0.0),
    "str": Same("ä \U0001f600 \x00 \u2028"),
    "dict": Same({"a": 1, "": {"a/b~c": [None, HUGE]}}),
    "list": Same([1, [2, []], {}]),
    "tuple": Same((1, (2,)), [1, [2]]),
    "the same twice": Same([[1]] * 2),
    "31 levels": Same(deep(31)),
    "StrEnum": Same(Answer.RED, "red"),
    "IntEnum": Same(Number.ONE, 1),
    "OrderedDict": Same(collections.OrderedDict(a=1), {"a": 1}),
    "defaultdict": Same(collections.defaultdict(list, a=[1]), {"a": [1]}),
    "Counter": Same(collections.Counter("a"), {"a": 1}),
    "UserDict": Same(collections.UserDict(a=1), {"a": 1}),
    "ChainMap": Same(collections.ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
    "mappingproxy": Same(types.MappingProxyType({"a": {"b": 1}}), {"a": {"b": 1}}),
    "CaseInsensitiveDict": Same(CaseInsensitiveDict({"A": "1"}), {"A": "1"}),
    "multi_items, each once": Same(MultiItems(a=[1], b=[2]), {"a": 1, "b": 2}),
}
REFUSED = {
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "half a surrogate pair": "a\ud800",
    "half a surrogate pair as a name": {"\udc00": 1},
    "an int of 5000 digits": 10**5000,
    "int as a name": {1: "a"},
    "None as a name": {None: 1},
    "bool as a name": {True: 1},
    "tuple as a name": {(1, 2): 1},
    "datetime as a name": {dt.datetime(2026, 1, 1, tzinfo=dt.UTC): 1},
    "cycle": cycle(),
    "500 levels": deep(500),
    "datetime": dt.datetime(2026, 11, 29, tzinfo=dt.UTC),
    "date": dt.date(2026, 11, 29),
    "time": dt.time(7, 45),
    "timedelta": dt.timedelta(1),
    "Decimal": decimal.Decimal("1.10"),
    "Decimal nan": decimal.Decimal("nan"),
    "Fraction": fractions.Fraction(1, 3),
    "complex": 1j,
    "UUID": uuid.UUID(int=1),
    "Path": pathlib.PurePosixPath("/tmp/x"),
    "IPv4Address": ipaddress.ip_address("127.0.0.1"),
    "Enum": Color.RED,
    "namedtuple": Point(),
    "dataclass": Order(),
    "set": {1},
    "frozenset": frozenset({1}),
    "range": range(3),
    "deque": collections.deque([1]),
    "UserList": collections.UserList([1]),
    "dict_keys": {"a": 1}.keys(),
    "dict_items": {"a": 1}.items(),
    "generator": (each for each in (1, 2)),
    "map": map(str, [1]),
    "iterator": iter([1]),
    "chain": itertools.chain([1]),
    "array": array.array("i", [1]),
    "Future": Future(),
    "function": cycle,
    "lambda": lambda: 1,
    "class": Order,
    "module": types,
    "Exception": ValueError("no"),
    "Ellipsis": ...,
    "NotImplemented": NotImplemented,
    "object": object(),
    "SimpleNamespace": types.SimpleNamespace(a=1),
    "StringIO": io.StringIO("a"),
    "Response": requests.Response(),
    "HTTPMessage": http.client.HTTPMessage(),
    "a mapping that raises": Raising(a=1),
    "several values of a name": Several(a=[1, 2]),
    "werkzeug": MultiDict([("a", 1), ("a", 2)]),
    "multi_items": MultiItems(a=[1, 2]),
    "a repeated name": Repeating(),
    "bytes": b"\x00\xff\xd8",
    "bytearray": bytearray(b"\x00\xff\xd8"),
    "memoryview": memoryview(b"\x00\xff\xd8"),
}
BYTES = ("bytes", "bytearray", "memoryview")
#: What a message has to advise, by name of the value.
ADVISED = {
    "datetime": "isoformat()",
    "date": "isoformat()",
    "timedelta": "total_seconds()",
    "Decimal": "str(value)",
    "UUID": "str(value)",
    "set": "list(value)",
    "generator": "list(value)",
    "Enum": "value.value",
    "namedtuple": "_asdict()",
    "dataclass": "asdict(value)",
    "bytes": 'payload_encoding "base64"',
    "Response": "value.json()",
    "int as a name": "str(name)",
    "function": "call it",
}


def made_by_builtins():
    """Make a value of each other type that Python has without an import."""
    for name, kind in vars(builtins).items():
        if not isinstance(kind, type) or name in TAKEN or name in REFUSED:
            continue
        for arguments in ((), ([],), (Order, 1), ("m", ["x"]), ("m", [ValueError()]), (b"", b"", 0, 1, "m")):
            with contextlib.suppress(TypeError, ValueError, RuntimeError):
                yield name, kind(*arguments)
                break


REFUSED |= dict(made_by_builtins())

PLACES = {
    "the whole of data": ("/data", lambda value: (value, None, None), lambda body: body["data"]),
    "in a dict": (
        "/data/a~1b/c",
        lambda value: ({"a/b": {"c": value}}, None, None),
        lambda body: body["data"]["a/b"]["c"],
    ),
    "in a list": ("/data/1", lambda value: ([0, value], None, None), lambda body: body["data"][1]),
    "the whole of headers": ("/headers", lambda value: (None, value, None), lambda body: body["headers"]),
    "a header": ("/headers/X", lambda value: (None, {"X": value}, None), lambda body: body["headers"]["X"]),
    "the whole of queryParams": ("/queryParams", lambda value: (None, None, value), lambda body: body["queryParams"]),
    "a parameter": ("/queryParams/x", lambda value: (None, None, {"x": value}), lambda body: body["queryParams"]["x"]),
}


@pytest.fixture
def fake():
    with FakeRelay(text=Webhook(payload_encoding="base64")) as relay:
        yield relay


@pytest.fixture
def relay(fake):
    with Relay(fake.base_url, KEY) as client:
        yield client


def same(left, right):
    """Compare so that 1, 1.0 and True are three values."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_taken_arrives_as_it_was_given(fake, relay, place):
    _, give, find = PLACES[place]

    def trigger(name):
        relay.webhooks.trigger("text", *give(TAKEN[name].value), idempotency_key=name.replace(" ", "-"))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(trigger, TAKEN))
    arrived = {seen.headers["idempotency-key"]: find(seen.json) for seen in fake.seen}
    wrong = [name for name, given in TAKEN.items() if not same(arrived[name.replace(" ", "-")], given.expected)]
    assert not wrong


@pytest.mark.parametrize("place", PLACES)
def test_what_is_taken_in_a_list_of_triggers_arrives_as_it_was_given(fake, relay, place):
    _, give, find = PLACES[place]
    parts = [give(given.value) for given in TAKEN.values()]
    relay.webhooks.trigger_many(
        {"webhookId": "text", "data": data, "headers": headers, "queryParams": query_params}
        for data, headers, query_params in parts
    )
    (seen,) = fake.seen
    assert not [
        name
        for (name, given), item in zip(TAKEN.items(), seen.json, strict=True)
        if not same(find(item), given.expected)
    ]


def refusal(act):
    """Return the error with which a call is refused."""
    with pytest.raises(errors.RequestRejected) as raised:
        act()
    return raised.value


@pytest.mark.parametrize("place", PLACES)
def test_what_json_would_drop_or_change_is_refused_with_its_place_and_what_to_do(fake, relay, place):
    assert len(REFUSED) > 100
    pointer, give, _ = PLACES[place]
    for name, value in REFUSED.items():
        if name in BYTES and place == "the whole of data":
            continue
        data, headers, query_params = give(value)
        item = {"webhookId": "text", "data": data, "headers": headers, "queryParams": query_params}
        for prefix, act in (
            ("", partial(relay.webhooks.trigger, "text", data, headers, query_params)),
            ("", partial(relay.webhooks.trigger_async, "text", data, headers, query_params)),
            ("/1", partial(relay.webhooks.trigger_many, [{"webhookId": "text"}, item])),
        ):
            error = refusal(act)
            assert error.faults[0].pointer.startswith(prefix + pointer), name
            assert str(error.faults[0]) in str(error)
            assert ADVISED.get(name, "") in str(error)
    assert not fake.seen


def test_an_awaitable_that_was_not_awaited_is_refused(fake, relay):
    coroutine = forgotten()
    assert "`await` it" in str(refusal(lambda: relay.webhooks.trigger("text", {"a": coroutine})))
    coroutine.close()
    assert not fake.seen


@pytest.mark.parametrize("delay_s", [float("nan"), decimal.Decimal(1), dt.timedelta(seconds=1)])
def test_a_delay_that_is_no_number_is_refused(fake, relay, delay_s):
    assert refusal(lambda: relay.webhooks.trigger_async("text", delay_s=delay_s)).faults[0].pointer == "/delay"
    assert not fake.seen


def test_what_changes_after_the_call_is_sent_as_it_was(fake):
    async def act():
        async with AsyncRelay(fake.base_url, KEY, callers=1) as relay:
            data, items = {"a": [1]}, [{"webhookId": "text", "data": {"a": [1]}}]
            calls = [asyncio.create_task(relay.trigger("text", data)) for _ in range(3)]
            calls.append(asyncio.create_task(relay.trigger_many(items)))
            await asyncio.sleep(0)
            data["a"].append(2)
            items[0]["data"]["a"].append(2)
            await asyncio.gather(*calls)

    asyncio.run(act())
    sent = [seen.json[0] if isinstance(seen.json, list) else seen.json for seen in fake.seen]
    assert [each["data"] for each in sent] == [{"a": [1]}] * 4
