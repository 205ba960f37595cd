"""Every member of a registration, alone and beside each other one: it is kept, compared, and changes no other."""

from __future__ import annotations

import json
from base64 import b64encode
from itertools import combinations

import pytest

from relay.egress import AddressPolicy
from relay.registration import ChainTarget, Shape, Step, Target, target_from_json
from relay.registration.callback import MEMBERS, callback_faults
from relay.registration.changes import changes
from relay.registration.credentials import Basic, ClientCertificate, Credentials, OAuth2Client
from relay.registration.document import read_registrations
from relay.registration.endpoint import Endpoint, EndpointRules
from relay.registration.retrying import RetryPolicy
from relay.text.expressions import Expression
from relay.text.quantities import Rate

RULES = EndpointRules(AddressPolicy())
PLAIN = {"id": "hook", "url": "https://hooks.vendor.com/x", "method": "POST"}
SECRET, OTHER = "planted-secret-one", "planted-secret-two"


def registered(**fields):
    return read_registrations(json.dumps(PLAIN | fields), RULES, plugin="shop")[1][0]


def compared(before, after):
    found = changes((before.shape, before.target), (after.shape, after.target))
    return {change.member: (change.before, change.after) for change in found}


def whsec(letter):
    return f"whsec_{b64encode(letter.encode() * 24).decode()}"


#: Fields of a document, each with the members that differ then: before and after.
FIELDS = {
    "url": ("https://hooks.vendor.com/y", {"url": ("https://hooks.vendor.com/x", "https://hooks.vendor.com/y")}),
    "method": ("PUT", {"method": ("POST", "PUT")}),
    "headers": (
        {"X-Key": SECRET, "X-Note": None},
        {"headers.X-Key": (None, "(hidden)"), "fillableHeaders": (None, ["X-Note"])},
    ),
    "queryParams": (["page"], {"queryParams": (None, ["page"])}),
    "payload": ("multipart", {"encoding": ("json", "multipart")}),
    "dataSchema": ({"type": "object"}, {"dataSchema": (None, {"type": "object"})}),
    "responseSchema": (True, {"responseSchema": (None, True)}),
    "fixedData": ({"key": SECRET}, {"fixedData/key": (None, "(hidden)")}),
    "hidden": (True, {"hidden": (None, True)}),
    "timeout": (5, {"timeoutMs": (20_000, 5_000)}),
    "idempotent": (True, {"idempotent": (None, True)}),
    "revealUrl": (True, {"revealUrl": (None, True)}),
    "description": ("Sends.", {"description": (None, "Sends.")}),
    "retry": ({"attempts": 3}, {"retry": (None, {"attempts": 3, "initial": 1, "factor": 2, "maximum": 300})}),
    "concurrency": (7, {"concurrency": (None, 7)}),
    "rate": ("5/s", {"rate": (None, "5/s")}),
    "maxAge": ("1h", {"maxAgeMs": (None, 3_600_000)}),
    "callback": ("told", {"callback": (None, "told")}),
    "signing": ([whsec("a"), whsec("b")], {"signing.0": (None, "(hidden)"), "signing.1": (None, "(hidden)")}),
    "auth": (
        {"type": "basic", "username": "ada", "password": SECRET},
        {"auth.authorization": (None, "(hidden)")},
    ),
}


@pytest.mark.parametrize("names", [each for count in range(3) for each in combinations(FIELDS, count)], ids="+".join)
def test_what_differs_between_two_revisions_is_named_and_only_that(names):
    before, after = registered(), registered(**{name: FIELDS[name][0] for name in names})
    expected = {member: both for name in names for member, both in FIELDS[name][1].items()}
    assert compared(before, after) == expected
    assert compared(after, before) == {member: both[::-1] for member, both in expected.items()}
    assert list(compared(before, after)) == sorted(expected)
    assert compared(after, after) == {}
    assert target_from_json(after.target.to_json()) == after.target
    assert Shape.from_json(after.shape.to_json()) == after.shape


#: Secrets of a registration before and after: the member that differs then.
SECRETS = {
    "url": ("https://hooks.vendor.com/x?key={}", "url"),
    "headers": ({"X-Key": "{}"}, "headers.X-Key"),
    "fixedData": ({"a": ["{}"]}, "fixedData/a/0"),
    "auth": ({"type": "basic", "username": "u", "password": "{}"}, "auth.authorization"),
}


@pytest.mark.parametrize("name", SECRETS)
def test_of_a_secret_that_differs_only_that_is_shown(name):
    value, member = SECRETS[name]
    before, after = (
        registered(**{name: json.loads(json.dumps(value).replace("{}", secret))}) for secret in (SECRET, OTHER)
    )
    assert compared(before, after) == {member: ("(hidden)", "changed")}
    assert "planted" not in str(changes((before.shape, before.target), (after.shape, after.target)))


def test_a_url_that_gets_a_query_hides_it_and_shows_what_was_open():
    before, after = registered(), registered(url=f"https://hooks.vendor.com/x?key={SECRET}")
    assert compared(before, after) == {"url": ("https://hooks.vendor.com/x", "(hidden)")}
    assert compared(after, before) == {"url": ("(hidden)", "https://hooks.vendor.com/x")}


def test_signing_secrets_are_compared_one_by_one():
    before, after = registered(signing=[whsec("a"), whsec("b")]), registered(signing=[whsec("a"), whsec("c")])
    assert compared(before, after) == {"signing.1": ("(hidden)", "changed")}
    assert compared(after, registered(signing=whsec("a"))) == {"signing.1": ("(hidden)", None)}


@pytest.mark.parametrize(
    ("fields", "members"),
    [
        ({"steps": [{"webhook": "one"}, {"webhook": "two", "data": "input"}]}, {"steps"}),
        ({"steps": [{"webhook": "one"}, {"webhook": "three"}]}, {"steps", "uses"}),
        ({"result": "steps[0]"}, {"result"}),
        ({"timeout": 7}, {"timeoutMs"}),
        ({}, set()),
    ],
)
def test_what_differs_between_two_revisions_of_a_chain_is_shown(fields, members):
    plain = {"id": "book", "steps": [{"webhook": "one"}, {"webhook": "two"}]}
    before, after = (
        read_registrations(json.dumps(each), RULES, plugin="shop")[1][0] for each in (plain, plain | fields)
    )
    found = compared(before, after)
    assert found.keys() == members
    for member in members & {"steps", "result"}:
        sides = [json.loads(each.target.to_json())[member] for each in (before, after)]
        assert found[member] == tuple(sides)
    assert compared(after, before) == {member: both[::-1] for member, both in found.items()}


#: Members of a shape that a chain or a webhook may have, none of them as it is by default.
SHAPE = {
    "fillable_headers": ("X-A",), "query_params": ("a",), "encoding": "form", "data_schema": {"type": "object"}, "hidden": True,
    "idempotent": True, "timeout_ms": 7, "reveal_url": True, "description": "d", "retry": RetryPolicy(3, statuses=(500,)),
    "concurrency": 3, "rate": Rate(5, 60), "response_schema": False, "max_age_ms": 9, "callback": "c", "chain": True,
    "uses": ("u",), "fixed_members": {"f": None}, "path_params": {"p": "x"}, "secrets": ("S",),
}  # fmt: skip


@pytest.mark.parametrize("names", [each for count in (1, 2) for each in combinations(SHAPE, count)], ids="+".join)
def test_each_member_of_a_shape_comes_back_from_the_store(names):
    shape = Shape("hook", "POST", **{name: SHAPE[name] for name in names})
    assert shape != Shape("hook", "POST")
    assert Shape.from_json(shape.to_json()) == shape


STEP = {
    "data": Expression("input.a"), "headers": {"X-A": Expression("input.b")}, "query_params": {"q": Expression("input.c")},
    "when": Expression("input.d"), "on_error": "continue", "for_each": Expression("input.e"),
    "mask": (Expression("input.f"), Expression("input.g")), "path_params": {"p": Expression("input.h")},
}  # fmt: skip
SEEING_ITEM = ("data", "headers", "query_params", "path_params")


@pytest.mark.parametrize("names", [each for count in (1, 2) for each in combinations(STEP, count)], ids="+".join)
def test_each_member_of_a_step_comes_back_from_the_store_and_is_checked(names):
    step = Step("hook", **{name: STEP[name] for name in names})
    assert Step.from_value(json.loads(json.dumps(step.to_value()))) == step
    found = {expression: (pointer, sees) for pointer, expression, sees in step.expressions()}
    for name in set(names) - {"on_error"}:
        value = STEP[name]
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]:
            pointer, sees_item = found.pop(each)
            words = name.split("_")
            assert pointer.startswith("/" + words[0] + "".join(map(str.title, words[1:])))
            assert sees_item is ("for_each" in names and name in SEEING_ITEM)
    assert found == {}


CLIENT = {
    "client_id": "c", "client_secret": "planted", "scope": "s", "audience": "a", "client_auth": "post", "grant": "jwt_bearer",
    "private_key": {"kty": "EC"}, "key_id": "k", "algorithm": "ES256", "issuer": "i", "subject": "s", "token_params": {"p": "v"},
}  # fmt: skip


@pytest.mark.parametrize("names", [each for count in (1, 2) for each in combinations(CLIENT, count)], ids="+".join)
@pytest.mark.parametrize("with_certificate", [False, True])
def test_each_member_of_a_client_comes_back_from_the_store_and_in_a_document(names, with_certificate):
    client = OAuth2Client(Endpoint("https", "a.com", 443, "/t", "q=1"), **{name: CLIENT[name] for name in names})
    credentials = Credentials(client, ClientCertificate("chain", "key") if with_certificate else None)
    assert Credentials.from_value(json.loads(json.dumps(credentials.to_value()))) == credentials
    written, *certificate = credentials.to_document()
    named = {"".join([first, *map(str.title, rest)]): name for name in names for first, *rest in [name.split("_")]}
    assert written == {"type": "oauth2", "tokenUrl": "https://a.com/t?q=1"} | {
        word: CLIENT[name] for word, name in named.items()
    }
    assert certificate == ([{"type": "mtls", "certificate": "chain", "key": "key"}] if with_certificate else [])
    assert credentials.kinds == (("oauth2", "mtls") if with_certificate else ("oauth2",))


@pytest.mark.parametrize("certificate", [None, ClientCertificate("chain", "key")])
@pytest.mark.parametrize("authorization", [None, Basic("u", "p")])
def test_other_credentials_come_back_from_the_store_and_in_a_document(authorization, certificate):
    credentials = Credentials(authorization, certificate)
    assert Credentials.from_value(json.loads(json.dumps(credentials.to_value()))) == credentials
    assert credentials.to_document() == [
        *([{"type": "basic", "username": "u", "password": "p"}] if authorization else []),
        *([{"type": "mtls", "certificate": "chain", "key": "key"}] if certificate else []),
    ]


@pytest.mark.parametrize(
    ("grant", "client_auth", "secret", "proof", "header"),
    [
        ("client_credentials", None, "p w", "basic", "a+b%3A:p+w"),
        ("client_credentials", "basic", "p w", "basic", "a+b%3A:p+w"),
        ("client_credentials", "post", "p w", "post", None),
        ("client_credentials", "private_key_jwt", None, "private_key_jwt", None),
        ("jwt_bearer", None, None, None, None),
        ("jwt_bearer", None, "p:w", "basic", "a+b%3A:p%3Aw"),
        ("jwt_bearer", "post", "p w", "post", None),
    ],
)
def test_how_a_client_proves_itself_follows_from_its_grant_and_what_it_has(grant, client_auth, secret, proof, header):
    client = OAuth2Client(Endpoint("https", "a.com", 443, "/"), "a b:", secret, client_auth=client_auth, grant=grant)
    assert client.proof == proof
    assert client.header == (header and f"Basic {b64encode(header.encode()).decode()}")


#: What a webhook may be that is named as a callback: the words with which it is refused, None if it may be one.
CALLED = {
    "plain": ({}, None),
    "with a callback": ({"callback": "more"}, "has a callback itself"),
    "with a path": ({"path_params": {"p": "x"}}, "whose path its caller has to fill"),
    "by GET": ({"method": "GET"}, "whose GET request carries no data"),
    "by DELETE": ({"method": "DELETE"}, "whose DELETE request carries no data"),
    "bytes": ({"encoding": "base64"}, "sends bytes or files"),
    "files": ({"encoding": "multipart"}, "sends bytes or files"),
    "a form": ({"encoding": "form"}, None),
    "hidden": ({"hidden": True}, None),
    "a chain": ({"chain": True}, None),
    "other fixed data": ({"fixed_members": {"key": None}}, None),
    **{f"fixed {name}": ({"fixed_members": {name.upper(): None}}, "whose `fixedData` sets") for name in MEMBERS},
}


@pytest.mark.parametrize("kind", CALLED)
def test_a_callback_is_of_a_webhook_that_takes_what_callbacks_send(kind):
    given, said = CALLED[kind]
    called = Shape("told", **({"method": "POST"} | given))
    faults = list(callback_faults(Shape("hook", "POST", callback="told"), {"told": called}.get))
    assert [pointer for pointer, _ in faults] == ([] if said is None else ["/callback"])
    assert said is None or said in faults[0][1]


def test_a_callback_is_another_webhook_of_the_plugin():
    (fault,) = callback_faults(Shape("hook", "POST", callback="hook"), lambda _: None)
    assert fault == ("/callback", "is the webhook itself")
    (fault,) = callback_faults(Shape("hook", "POST", callback="gone"), lambda _: None)
    assert fault == ("/callback", "names `gone`, which is not registered for this plugin")
    assert list(callback_faults(Shape("hook", "POST"), lambda _: None)) == []


PLAIN_SHAPE = {
    "id": "hook", "method": "POST", "fillableHeaders": [], "queryParams": [], "encoding": "json", "dataSchema": None,
    "hidden": False, "idempotent": False, "timeoutMs": 20_000, "revealUrl": False, "description": None, "retry": None,
    "concurrency": None, "rate": None, "responseSchema": None, "chain": False, "uses": [],
}  # fmt: skip
FULL_SHAPE = {
    "id": "hook", "method": "POST", "fillableHeaders": ["X-A"], "queryParams": ["a"], "encoding": "form",
    "dataSchema": {"type": "object"}, "hidden": True, "idempotent": True, "timeoutMs": 7, "revealUrl": True, "description": "d",
    "retry": {"attempts": 3, "initial": 1.0, "factor": 2.0, "maximum": 300.0, "statuses": [500]}, "concurrency": 3,
    "rate": "5/m", "responseSchema": False, "pathParams": {"p": "x"}, "fixedMembers": {"f": None}, "maxAgeMs": 9,
    "callback": "c", "chain": True, "uses": ["u"], "secrets": ["S"],
}  # fmt: skip
PLAIN_STEP = {
    "webhook": "hook", "data": None, "headers": {}, "queryParams": {}, "when": None, "onError": "stop", "forEach": None,
    "mask": [],
}  # fmt: skip
FULL_STEP = {
    "webhook": "hook", "data": "input.a", "headers": {"X-A": "input.b"}, "queryParams": {"q": "input.c"},
    "pathParams": {"p": "input.h"}, "when": "input.d", "onError": "continue", "forEach": "input.e",
    "mask": ["input.f", "input.g"],
}  # fmt: skip
FULL_CLIENT = {
    "tokenUrl": ["https", "a.com", 443, "/t", ""], "clientId": "c", "clientSecret": "planted", "scope": "s", "audience": "a",
    "clientAuth": "post", "grant": "jwt_bearer", "privateKey": {"kty": "EC"}, "keyId": "k", "algorithm": "ES256",
    "issuer": "i", "subject": "s", "tokenParams": {"p": "v"},
}  # fmt: skip
AT = Endpoint("https", "a.com", 443, "/x")
WRITTEN_AT = ["https", "a.com", 443, "/x", ""]
NONE = {"authorization": None, "certificate": None}
#: Shapes and targets, and how they are written in the store, where every release must find them.
STORED = [
    (Shape("hook", "POST"), PLAIN_SHAPE),
    (Shape("hook", "POST", **SHAPE), FULL_SHAPE),
    (Target(AT), {"endpoint": WRITTEN_AT, "headers": {}, "signing": [], "credentials": NONE}),
    (
        Target(AT, {"X-A": "b"}, ("whsec_x",), Credentials(Basic("u", "p")), {"f": 1}),
        {
            "endpoint": WRITTEN_AT, "headers": {"X-A": "b"}, "signing": ["whsec_x"],
            "credentials": NONE | {"authorization": {"username": "u", "password": "p"}}, "fixedData": {"f": 1},
        },
    ),
    (
        Target(AT, credentials=Credentials(
            OAuth2Client(Endpoint("https", "a.com", 443, "/t"), **CLIENT), ClientCertificate("chain", "key"))),
        {
            "endpoint": WRITTEN_AT, "headers": {}, "signing": [],
            "credentials": {"authorization": FULL_CLIENT, "certificate": ["chain", "key"]},
        },
    ),
    (ChainTarget((Step("hook"),)), {"steps": [PLAIN_STEP], "result": None}),
    (ChainTarget((Step("hook", **STEP),), Expression("input")), {"steps": [FULL_STEP], "result": "input"}),
]  # fmt: skip


@pytest.mark.parametrize(("part", "stored"), STORED)
def test_a_registration_is_stored_byte_for_byte_as_before_and_read_from_there(part, stored):
    written = json.dumps(stored, separators=(",", ":")).encode()
    assert part.to_json() == written
    assert (Shape.from_json(written) if isinstance(part, Shape) else target_from_json(written)) == part
