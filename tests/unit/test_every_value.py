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
import math
import pathlib
import tempfile
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


class Model:
    """Can be written as JSON by its own method, as models of Pydantic can."""

    def model_dump(self, mode):
        return {"mode": mode}


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


def temporary(path):
    made = tempfile.NamedTemporaryFile(suffix=".pdf")  # noqa: SIM115 - its caller closes it
    made.write(path.read_bytes())
    made.seek(0)
    return made


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
    "a model": Model(),
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
    **dict.fromkeys(("datetime", "date", "time"), "give `value.isoformat()`"),
    "timedelta": "give `value.total_seconds()`",
    **dict.fromkeys(
        ("Decimal", "Decimal nan", "Fraction", "complex", "UUID", "Path", "Exception"), "give `str(value)`"
    ),
    **dict.fromkeys(
        ("set", "frozenset", "range", "deque", "UserList", "dict_keys", "dict_items"), "give `list(value)`"
    ),
    **dict.fromkeys(("generator", "map", "iterator", "chain"), "give `list(value)`"),
    "array": "give `value.tolist()`",
    "a model": "give `value.model_dump(mode='json')`",
    "Enum": "give `value.value`",
    "namedtuple": "give `value._asdict()`",
    "dataclass": "give `dataclasses.asdict(value)`",
    **dict.fromkeys(("bytes", "bytearray", "memoryview"), 'payload_encoding "base64"'),
    "Response": "give `value.json()`",
    **dict.fromkeys(("int as a name", "None as a name", "tuple as a name"), "such as `str(name)`"),
    **dict.fromkeys(("function", "lambda", "class"), "call it, or leave it out"),
    "StringIO": "as a member of data itself",
    **dict.fromkeys(("object", "SimpleNamespace", "Ellipsis"), "give a dict, a list, text, a number, a bool or None"),
    **dict.fromkeys(("nan", "inf", "-inf"), "give None"),
    **dict.fromkeys(("several values of a name", "werkzeug"), "several values of a name: give a dict"),
    **dict.fromkeys(("multi_items", "a repeated name"), "is given more than once"),
    "cycle": "contains itself",
    "500 levels": "is nested too deeply",
    "a mapping that raises": "doing so raises OSError",
    **dict.fromkeys(("half a surrogate pair", "half a surrogate pair as a name"), "is text with half of a surrogate"),
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
#: Open files, with what arrives if they are members of data themselves; anywhere else they have to be refused.
FILES = {
    "BytesIO": (lambda _: io.BytesIO(b"\x00\xff"), ("scan", "application/octet-stream", "AP8=")),
    "open": (lambda path: path.open("rb"), ("scän.pdf", "application/pdf", "JVBERg==")),
    "unbuffered": (lambda path: path.open("rb", buffering=0), ("scän.pdf", "application/pdf", "JVBERg==")),
    "tempfile": (temporary, (None, "application/pdf", "JVBERg==")),
}

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
    with FakeRelay(
        text=Webhook(payload_encoding="base64"), form=Webhook(payload="multipart"), later=Webhook(60)
    ) as relay:
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


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "scän.pdf"
    path.write_bytes(b"%PDF")
    return path


@pytest.mark.parametrize("name", FILES)
def test_an_open_file_arrives_with_its_name_type_and_content(fake, relay, document, name):
    make, (filename, content_type, content) = FILES[name]
    for act in (
        lambda data: relay.webhooks.trigger("form", data),
        lambda data: relay.webhooks.trigger_many([{"webhookId": "form", "data": data}]),
        lambda data: asyncio.run(asynchronously(fake, data)),
    ):
        with make(document) as file:
            act({"title": "x", "scan": file})
            expected = {"filename": filename or pathlib.Path(file.name).name, "contentType": content_type}
        sent = fake.seen[-1].json
        sent = sent[0] if isinstance(sent, list) else sent
        assert sent["data"] == {"title": "x", "scan": expected | {"content": content}}


@pytest.mark.parametrize("name", ["scan", "a/b.png", "~1.png", "a~0/~b", ""])
def test_a_file_without_a_name_of_its_own_has_that_of_its_member(fake, relay, name):
    relay.webhooks.trigger("form", {name: io.BytesIO(b"x")})
    file = fake.seen[-1].json["data"][name]
    assert (file["filename"], file["contentType"]) == (
        name,
        "image/png" if name.endswith(".png") else "application/octet-stream",
    )


def test_no_more_than_twenty_faults_are_named_with_pointers_of_bounded_length(fake, relay):
    error = refusal(lambda: relay.webhooks.trigger("text", [float("nan")] * 30))
    assert [fault.pointer for fault in error.faults] == [f"/data/{number}" for number in range(20)]
    assert str(error).endswith("(and 19 more)")
    error = refusal(lambda: relay.webhooks.trigger_many([{"webhookId": "text", "data": math.nan}] * 30))
    assert [fault.pointer for fault in error.faults] == [f"/{number}/data" for number in range(20)]
    (fault,) = refusal(lambda: relay.webhooks.trigger("text", {"x" * 400: {1}})).faults
    assert len(fault.pointer) == 256
    assert not fake.seen


@pytest.mark.parametrize("at", range(3))
def test_a_member_of_an_item_whose_name_is_no_text_is_refused_at_the_item(fake, relay, at):
    items = [{"webhookId": "text"} for _ in range(3)]
    items[at][5] = "five"
    assert [fault.pointer for fault in refusal(lambda: relay.webhooks.trigger_many(items)).faults] == [f"/{at}"]
    assert not fake.seen


def test_each_member_whose_name_is_no_text_is_one_fault_and_the_others_are_checked(fake, relay):
    error = refusal(lambda: relay.webhooks.trigger("text", {5: "five", "a": {6: "six", "b": math.nan}, "c": math.nan}))
    assert [fault.pointer for fault in error.faults] == ["/data", "/data/a", "/data/a/b", "/data/c"]


async def asynchronously(fake, data):
    async with AsyncRelay(fake.base_url, KEY) as relay:
        await relay.webhooks.trigger("form", data)


@pytest.mark.parametrize("name", FILES)
def test_a_file_anywhere_else_is_refused(fake, relay, document, name):
    for place, (pointer, give, _) in PLACES.items():
        with FILES[name][0](document) as file:
            error = refusal(lambda: relay.webhooks.trigger("form", *give(file)))  # noqa: B023 - called at once
        assert error.faults[0].pointer.startswith(pointer), place
        assert "as a member of data itself" in error.faults[0].message or place == "the whole of headers"
    assert not fake.seen


def test_a_file_is_refused_by_a_webhook_that_takes_none(fake, relay, document):
    with document.open("rb") as file:
        error = refusal(lambda: relay.webhooks.trigger("text", {"a": 1, "b/c": file}))
    assert error.faults == (
        errors.Fault("/data/b~1c", 'takes no file: the webhook is not registered with payload "multipart"'),
    )
    assert [seen.path for seen in fake.seen] == ["/v1/webhooks/text"]


def closed(file):
    file.close()
    return file


UNREADABLE = {
    "opened as text": lambda path: path.open(encoding="utf-8"),
    "opened for writing": lambda path: path.with_name("out").open("wb"),
} | {f"closed {name}": lambda path, make=make: closed(make(path)) for name, (make, _) in FILES.items()}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_cannot_be_read_as_bytes_is_refused(fake, relay, document, name):
    with contextlib.closing(UNREADABLE[name](document)) as file:
        error = refusal(lambda: relay.webhooks.trigger("form", {"a": file}))
    assert [fault.pointer for fault in error.faults] == ["/data/a"]
    assert 'mode "rb"' in str(error)
    assert not fake.seen


@pytest.mark.parametrize("call", ["trigger", "trigger_async"])
def test_path_params_are_sent_as_they_were_given(fake, relay, call):
    webhook = {"trigger": "text", "trigger_async": "later"}[call]
    getattr(relay.webhooks, call)(webhook, path_params={"id": "a b", "n": 1})
    relay.webhooks.trigger_many([{"webhook_id": "text", "path_params": {"id": "x"}}])

    async def act():
        async with AsyncRelay(fake.base_url, KEY) as asynchronous:
            await getattr(asynchronous.webhooks, call)(webhook, path_params={"id": "z"})

    asyncio.run(act())
    one, (many,), other = (seen.json for seen in fake.seen)
    assert one == {"pathParams": {"id": "a b", "n": 1}}
    assert many["pathParams"] == {"id": "x"}
    assert other == {"pathParams": {"id": "z"}}
    error = refusal(lambda: getattr(relay.webhooks, call)("text", path_params={"id": dt.date(2026, 1, 1)}))
    assert error.faults[0].pointer == "/pathParams/id"


@pytest.mark.parametrize("call", ["trigger", "trigger_async"])
def test_a_subject_is_sent_to_the_relay_if_it_is_given(fake, relay, call):
    webhook = {"trigger": "text", "trigger_async": "later"}[call]
    getattr(relay.webhooks, call)(webhook, subject="4711")
    getattr(relay.webhooks, call)(webhook)
    relay.webhooks.trigger_many([{"webhook_id": "text", "subject": "4712"}])

    async def act():
        async with AsyncRelay(fake.base_url, KEY) as asynchronous:
            await getattr(asynchronous.webhooks, call)(webhook, subject="4713")

    asyncio.run(act())
    one, none, (many,), other = (seen.json for seen in fake.seen)
    assert (one, none, many["subject"], other) == ({"subject": "4711"}, {}, "4712", {"subject": "4713"})
    error = refusal(lambda: getattr(relay.webhooks, call)("text", subject=dt.date(2026, 1, 1)))
    assert error.faults[0].pointer == "/subject"


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
