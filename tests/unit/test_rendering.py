from __future__ import annotations

import base64
import json
import urllib.parse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import RequestRejected
from relay.registration import Shape, Target
from relay.registration.endpoint import Endpoint
from relay.request.rendering import USER_AGENT, Template
from relay.request.trigger import Trigger
from tests.rendered import render

ENDPOINT = Endpoint("https", "a.example.com", 443, "/p%7E/x", "")
REF = "0199f0a0-0000-7000-8000-000000000000"


def rendered(
    data=None, *, method="POST", endpoint=ENDPOINT, pre_filled=None, headers=None, query=None, traceparent=None, **shape
):
    return render(
        Shape("w", method, query_params=tuple(query or ()), **shape),
        Target(endpoint, pre_filled or {}),
        Trigger(data, headers or {}, query or {}),
        reference_id=REF,
        traceparent=traceparent,
    )


def test_the_url_goes_out_exactly_as_registered():
    fixed = Endpoint("https", "a.example.com", 8443, "/p%7E/%20x", "a=b%20c&d=+&e")
    assert rendered(endpoint=fixed).url == "https://a.example.com:8443/p%7E/%20x?a=b%20c&d=+&e"


def test_a_callers_query_follows_the_fixed_one_in_its_own_order():
    fixed = Endpoint("https", "a.example.com", 443, "/", "v=1")
    assert rendered(endpoint=fixed, query={"z": "1", "a": "2"}).url == "https://a.example.com/?v=1&z=1&a=2"


def test_a_query_without_a_fixed_one_begins_with_a_question_mark():
    assert rendered(query={"q": "x"}).url == "https://a.example.com/p%7E/x?q=x"


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("a b+c&d=e#f?/~-._", "a%20b%2Bc%26d%3De%23f%3F%2F~-._"),
        ("é", "%C3%A9"),
        ("%41", "%2541"),
        ("", ""),
        (True, "true"),
        (False, "false"),
        (10**40, "1" + "0" * 40),
        (-1.5, "-1.5"),
    ],
)
def test_a_query_value_is_always_percent_encoded(value, sent):
    assert rendered(query={"q": value}).url == f"https://a.example.com/p%7E/x?q={sent}"


@settings(deadline=None)  # the machine may be busy
@given(value=st.text(st.characters(codec="utf-8"), max_size=40))
def test_no_query_value_leaves_its_place(value):
    url = rendered(query={"q": value, "end": "1"}).url
    query = url.partition("?")[2]
    assert urllib.parse.parse_qsl(query, keep_blank_values=True, strict_parsing=True) == [("q", value), ("end", "1")]
    assert url.isascii()


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("data", [None, {}, ""])
def test_get_and_delete_have_no_body_for_null_and_empty_data(method, data):
    request = rendered(data, method=method)
    assert request.body is None
    assert "Content-Type" not in request.headers
    assert "Content-Length" not in request.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_other_methods_without_data_say_that_their_body_is_empty(method):
    request = rendered(method=method)
    assert request.body is None
    assert request.headers["Content-Length"] == "0"
    assert "Content-Type" not in request.headers


@pytest.mark.parametrize(
    ("data", "body", "content_type"),
    [
        ({}, b"{}", "application/json"),
        ("", b"", "text/plain; charset=utf-8"),
        ({"a": [1, None, True], "b": "é"}, '{"a":[1,null,true],"b":"é"}'.encode(), "application/json"),
        ([], b"[]", "application/json"),
        ("é", "é".encode(), "text/plain; charset=utf-8"),
        ('{"a": 1}', b'{"a": 1}', "text/plain; charset=utf-8"),
        ({"n": 10**30, "f": 0.1}, b'{"n":1000000000000000000000000000000,"f":0.1}', "application/json"),
    ],
)
def test_data_goes_out_as_compact_json_or_as_the_text_it_is(data, body, content_type):
    request = rendered(data)
    assert request.body == body
    assert request.headers["content-type"] == content_type
    assert request.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize("place", ["pre_filled", "headers"])
def test_a_registered_or_filled_content_type_wins(place):
    given_headers = {place: {"content-TYPE": "application/vnd.x+json"}}
    request = rendered({"a": 1}, fillable_headers=("content-TYPE",), **given_headers)
    assert [(n, v) for n, v in request.headers.items() if n.lower() == "content-type"] == [
        ("content-TYPE", "application/vnd.x+json")
    ]


def test_base64_text_goes_out_as_its_bytes():
    raw = bytes(range(256))
    request = rendered(base64.b64encode(raw).decode(), encoding="base64", pre_filled={"Content-Type": "image/jpeg"})
    assert request.body == raw
    assert request.headers["Content-Type"] == "image/jpeg"
    assert request.headers["Content-Length"] == "256"
    assert rendered("AAAA", encoding="base64").headers["Content-Type"] == "application/octet-stream"
    assert rendered("", encoding="base64").body == b""
    assert rendered(None, encoding="base64").body is None


def test_a_flat_object_goes_out_as_a_form_where_that_is_registered():
    registered = {"Content-Type": "application/x-www-form-urlencoded"}
    request = rendered({"a b": "c d&", "n": 1, "t": True, "z": None, "é": "ü"}, encoding="form", pre_filled=registered)
    assert request.body == b"a+b=c+d%26&n=1&t=true&z=&%C3%A9=%C3%BC"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert rendered("a=b", encoding="form", pre_filled=registered).body == b"a=b"


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (5, {}),
        (True, {}),
        ({"a": 1}, {"encoding": "base64"}),
        ("not base64", {"encoding": "base64"}),
        ("é", {"encoding": "base64"}),
        ("AAAA AAAA", {"encoding": "base64"}),
        ({"a": {"b": 1}}, {"encoding": "form"}),
    ],
)
def test_what_no_check_lets_through_is_refused_without_quoting_it(data, shape):
    with pytest.raises(RequestRejected) as refusal:
        rendered(data, **shape)
    assert refusal.value.faults[0].pointer == "/data"
    assert "not base64" not in str(refusal.value.faults)


def test_headers_are_the_pre_filled_the_filled_and_our_own():
    request = rendered(
        pre_filled={"Authorization": "Bearer x"},
        fillable_headers=("X-Trace-ID",),
        headers={"x-trace-id": "7"},
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    assert dict(request.headers) == {
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Authorization": "Bearer x",
        "X-Trace-ID": "7",
        "webhook-id": REF,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "Content-Length": "0",
    }


@pytest.mark.parametrize(
    "given",
    [
        {"pre_filled": {"Traceparent": "own"}},
        {"fillable_headers": ("Traceparent",), "headers": {"traceparent": "own"}},
    ],
    ids=["pre-filled", "filled"],
)
def test_a_traceparent_that_is_registered_is_not_replaced_by_the_caller_s_own(given):
    request = rendered(**given, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert [value for name, value in request.headers.items() if name.lower() == "traceparent"] == ["own"]


def test_accept_and_user_agent_may_be_registered_or_filled():
    request = rendered(pre_filled={"user-agent": "own/1"}, fillable_headers=("ACCEPT",), headers={"accept": "text/csv"})
    assert list(request.headers.items())[:2] == [("user-agent", "own/1"), ("ACCEPT", "text/csv")]


def test_a_header_that_is_not_registered_never_goes_out():
    with pytest.raises(RequestRejected):
        rendered(headers={"X-Other": "1"}, pre_filled={"X-Other": "secret"})


def test_a_parameter_that_is_not_registered_never_goes_out():
    template = Template(Shape("w", "POST", query_params=("q",)), Target(ENDPOINT))
    with pytest.raises(RequestRejected):
        template.fill(Trigger(None, {}, {"q": "1", "r": "2"}), REF)


def test_a_template_is_not_changed_by_what_fills_it():
    template = Template(Shape("w", "POST", fillable_headers=("X-A",), query_params=("q",)), Target(ENDPOINT))
    first = template.fill(Trigger({"a": 1}, {"X-A": "1"}, {"q": "1"}), "ref-1", "00-a")
    second = template.fill(Trigger(), "ref-2")
    assert json.loads(first.body) == {"a": 1}
    assert second.url == ENDPOINT.url
    assert {name.lower() for name in second.headers} == {"user-agent", "accept", "webhook-id", "content-length"}
    assert second.headers["webhook-id"] == "ref-2"
