"""Fixed data: members that a registration adds to what a caller sends, who can neither set nor see them."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.answer.masking import Mask
from relay.cli.explain import explained
from relay.egress import AddressPolicy
from relay.errors import DocumentError, RequestRejected
from relay.registration import Shape, target_from_json
from relay.registration.changes import changes
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.registration.fixed_data import MAX_FIXED_BYTES, scalars_in
from relay.request.trigger import Trigger, check
from tests.rendered import render

RULES = EndpointRules(AddressPolicy(), frozenset())
REF = "0199f0a0-0000-7000-8000-000000000000"
SECRET, OTHER = "sk-live-0123456789abcdef", "tenant-key-9876543210"
FIXED = {"api_key": SECRET, "options": {"account": {"key": OTHER, "number": 123456789012}, "tags": ["relay"]}}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def registered(fixed=None, look_up=None, **more):
    fields = {"id": "pay", "url": "https://pay.example.com/v1", "method": "POST", "fixedData": fixed or FIXED, **more}
    return read_registrations(json.dumps(fields), RULES, plugin="shop", look_up=look_up)[1][0]


def faults(**fields):
    base = {"id": "pay", "url": "https://pay.example.com/v1", "method": "POST"}
    with pytest.raises(DocumentError) as error:
        read_registrations(json.dumps(base | fields), RULES, plugin="shop")
    return [fault.pointer for fault in error.value.faults]


def sent(registration, data):
    trigger = check(registration.shape, Trigger(data))
    assert check(registration.shape, trigger) == trigger
    return render(registration.shape, registration.target, trigger, reference_id=REF).body


def refused(registration, data):
    with pytest.raises(RequestRejected) as error:
        check(registration.shape, Trigger(data))
    return {fault.pointer: fault.message for fault in error.value.faults}


@pytest.mark.parametrize("data", [None, {}])
def test_without_data_of_the_caller_the_fixed_members_are_the_body(data):
    assert json.loads(sent(registered(), data)) == FIXED


def test_fixed_members_are_added_at_any_depth_beside_the_callers():
    data = {"amount": 5, "options": {"lang": "en", "account": {"name": "Ada"}}}
    expected = {
        "amount": 5,
        "api_key": SECRET,
        "options": {
            "lang": "en",
            "account": {"name": "Ada", "key": OTHER, "number": 123456789012},
            "tags": ["relay"],
        },
    }
    assert json.loads(sent(registered(), data)) == expected
    assert data == {"amount": 5, "options": {"lang": "en", "account": {"name": "Ada"}}}


@pytest.mark.parametrize(
    ("data", "pointers"),
    [
        ({"api_key": "mine"}, ["/data/api_key"]),
        ({"api_key": None}, ["/data/api_key"]),
        ({"API_Key": "mine"}, ["/data/API_Key"]),
        ({"options": {"account": {"key": 1}, "tags": []}}, ["/data/options/account/key", "/data/options/tags"]),
        ({"options": {"Account": {}}}, ["/data/options/Account"]),
        ({"options": "all"}, ["/data/options"]),
        ({"options": {"account": None}}, ["/data/options/account"]),
        ({"api_key": 1, "options": []}, ["/data/api_key", "/data/options"]),
        ([], ["/data"]),
        ("text", ["/data"]),
        ("", ["/data"]),
    ],
)
def test_a_caller_who_would_set_one_is_refused(data, pointers):
    found = refused(registered(), data)
    assert list(found) == pointers
    assert SECRET not in str(found)


@pytest.mark.parametrize("fixed", [{}, [], "", 0, False, None])
def test_an_empty_value_is_a_value_that_callers_do_not_add_to(fixed):
    registration = registered({"a": fixed, "b": {"c": fixed}})
    assert json.loads(sent(registration, {"b": {"own": 1}})) == {"a": fixed, "b": {"own": 1, "c": fixed}}
    for mine in ({}, {"own": 1}, fixed):
        assert list(refused(registration, {"a": mine, "b": {"c": mine}})) == ["/data/a", "/data/b/c"]


def test_the_same_name_elsewhere_is_the_callers():
    data = {"account": {"key": "mine"}, "options": {"api_key": "mine"}}
    assert json.loads(sent(registered(), data))["options"]["api_key"] == "mine"


def test_a_form_gets_them_too():
    registration = registered({"api_key": SECRET, "v": 2, "test": True}, headers=FORM)
    assert parse_qsl(sent(registration, {"a": "b"}).decode()) == [
        ("a", "b"), ("api_key", SECRET), ("v", "2"), ("test", "true")
    ]  # fmt: skip
    assert list(refused(registration, {"api_key": "x"})) == ["/data/api_key"]
    assert list(refused(registration, "api_key=x")) == ["/data"]


def test_a_data_schema_is_of_what_the_caller_gives():
    schema = {"type": "object", "required": ["amount"], "additionalProperties": False, "properties": {"amount": {}}}
    registration = registered(dataSchema=schema)
    assert json.loads(sent(registration, {"amount": 1})) == {"amount": 1, **FIXED}


def test_values_stand_elsewhere_as_those_of_headers_may():
    fixed = {"a": {"b": ["${env:PAY_KEY}", "$${x}"]}}
    registration = registered(fixed, look_up=lambda _plugin, kind, name: f"{kind}-{name}-looked-up")
    assert registration.target.fixed_data == {"a": {"b": ["env-PAY_KEY-looked-up", "${x}"]}}


def test_the_values_are_in_the_sealed_target_and_only_names_in_the_shape():
    registration = registered()
    shape = registration.shape.to_json()
    assert SECRET.encode() not in shape
    assert OTHER.encode() not in shape
    assert Shape.from_json(shape) == registration.shape
    assert target_from_json(registration.target.to_json()) == registration.target
    assert SECRET not in repr(registration)
    assert "fixedMembers" not in json.loads(Shape("a", "POST").to_json())


def test_the_values_are_masked_in_answers():
    registration = registered()
    mask = Mask.of(registration.shape, registration.target)
    echoed = json.dumps({"got": {"amount": 5, **FIXED}})
    shown, hits = mask.text(echoed)
    assert hits == 3
    assert SECRET not in shown
    assert OTHER not in shown
    assert "123456789012" not in shown
    assert mask.value({"n": 123456789012})[0] == {"n": "[redacted]"}


SECRETS = [f"a-secret-at-place-{number}" for number in range(3)]
SHAPES = {
    "in a list": SECRETS,
    "in lists of a list": [SECRETS[:1], SECRETS[1:]],
    "in objects of a list": [{"key": text} for text in SECRETS],
    "in an object": {text[-1]: text for text in SECRETS},
    "in lists of an object": {"one": SECRETS[:2], "other": SECRETS[2:]},
    "beside null": [None, *SECRETS, {"a": None}],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("number", range(len(SECRETS)))
def test_each_value_is_masked_and_compared_wherever_it_stands(shape, number):
    registration = registered({"a": SHAPES[shape]})
    mask = Mask.of(registration.shape, registration.target)
    assert mask.text(f"got {SECRETS[number]}!") == ("got [redacted]!", 1)
    other = json.dumps(SHAPES[shape]).replace(SECRETS[number], "another-secret")
    after = registered({"a": json.loads(other)})
    (change,) = changes((registration.shape, registration.target), (after.shape, after.target))
    assert (change.before, change.after) == ("(hidden)", "changed")
    short = registered({"a": json.loads(other.replace("another-secret", "1234"))})
    assert len(short.warnings) == 1


def test_a_short_value_is_taken_with_a_warning():
    (warning,) = registered({"a": {"pin": "1234"}, "key": SECRET}).warnings
    assert warning.startswith("The value of fixedData/a/pin is shorter than 8 characters")


def test_explain_shows_the_request_without_the_values():
    registration = registered()
    found = explained(registration.shape, registration.target, Trigger({"amount": 5}))
    assert json.loads(found["body"]["preview"]) == {
        "amount": 5,
        "api_key": "[redacted]",
        "options": {"account": {"key": "[redacted]", "number": "[redacted]"}, "tags": ["[redacted]"]},
    }
    assert found["body"]["bytes"] == len(sent(registration, {"amount": 5}))
    assert found["body"]["sha256"] is None


def test_a_difference_names_the_member_and_hides_the_values():
    before, after = registered({"a": {"key": SECRET}}), registered({"a": {"key": OTHER}, "b": "x" * 8})
    found = changes((before.shape, before.target), (after.shape, after.target))
    assert [(change.member, change.before, change.after) for change in found] == [
        ("fixedData/a/key", "(hidden)", "changed"),
        ("fixedData/b", None, "(hidden)"),
    ]


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"fixedData": {}}, ["/fixedData"]),
        ({"fixedData": ["a"]}, ["/fixedData"]),
        ({"fixedData": None}, ["/fixedData"]),
        ({"fixedData": {"a": ["b\x00c"]}}, ["/fixedData"]),
        ({"fixedData": FIXED, "method": "GET"}, ["/fixedData"]),
        ({"fixedData": FIXED, "method": "DELETE"}, ["/fixedData"]),
        ({"fixedData": FIXED, "payload_encoding": "base64"}, ["/fixedData"]),
        ({"fixedData": {**FIXED, "n": None}, "headers": FORM}, ["/fixedData/options", "/fixedData/n"]),
        ({"fixedData": {**FIXED, "b": True}, "payload": "multipart"}, ["/fixedData/options", "/fixedData/b"]),
        ({"fixedData": {"a": "Bearer {{key}}"}}, ["/fixedData/a"]),
        ({"fixedData": {}, "method": "post", "payload": "xml"}, ["/fixedData", "/method", "/payload"]),
    ],
)
def test_what_cannot_be_sent_is_refused_with_all_other_faults(fields, pointers):
    assert sorted(faults(**fields)) == sorted(pointers)


def test_fixed_data_has_so_many_bytes_and_no_more():
    longest = "x" * (MAX_FIXED_BYTES - len('{"a":""}'))
    assert registered({"a": longest})
    assert faults(fixedData={"a": longest + "x"}) == ["/fixedData"]


NAMES = st.sampled_from(["api_key", "options", "account", "key", "tags", "x", "API_KEY", "Key"])
DATA = st.recursive(st.none() | st.text(max_size=3) | st.lists(st.none()), lambda inner: st.dictionaries(NAMES, inner), max_leaves=12)  # fmt: skip


@pytest.mark.parametrize("data", ["text", "", [], [1], 5, False])
def test_data_that_no_check_lets_through_is_not_sent_with_fixed_members(data):
    registration = registered()
    with pytest.raises(RequestRejected) as error:
        render(registration.shape, registration.target, Trigger(data), reference_id=REF)
    assert [fault.pointer for fault in error.value.faults] == ["/data"]


@given(DATA)
def test_whatever_a_caller_gives_the_fixed_values_are_what_is_sent(data):
    registration = registered()
    try:
        body = json.loads(sent(registration, data))
    except RequestRejected:
        return
    values = dict(scalars_in(body))
    assert {pointer: values.get(pointer) for pointer, _ in scalars_in(FIXED)} == dict(scalars_in(FIXED))
