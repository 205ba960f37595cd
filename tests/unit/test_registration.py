"""Registrations: a document yields a shape and a target; every fault is reported with its field."""

import json

import pytest

from relay.egress import AddressPolicy
from relay.errors import DocumentError
from relay.registration import Shape, Target, target_from_json
from relay.registration.data_schema import compile_schema
from relay.registration.document import read_registrations
from relay.registration.endpoint import Endpoint, EndpointRules
from relay.text.strict_json import read_json
from tests.receivers import json_answer, receiver

RULES = EndpointRules(AddressPolicy(), frozenset())
#: Refers to a schema that the compiler has at hand: nothing else would refuse it.
OUTWARD = {"$ref": "https://json-schema.org/draft/2020-12/schema"}
SECRET = "Bearer sk-live-0123456789"
FULL = {
    "id": "lab-order",
    "url": "https://hook.vendor.com/v2/orders?tenant=acme-0001",
    "method": "PATCH",
    "headers": {"Authorization": SECRET, "X-Locale": None, "X-Trace": "", "Content-Type": "application/fhir+json"},
    "queryParams": ["lang", "page~1"],
    "dataSchema": {"type": "object", "required": ["a"]},
    "hidden": False,
    "timeout": 1.5,
    "idempotent": True,
    "revealUrl": True,
    "description": "Orders for the lab.",
}


def register(**changes):
    fields = {name: value for name, value in {**FULL, **changes}.items() if value is not ...}
    return read_registrations(json.dumps(fields), RULES, plugin="lab")[1][0]


def faults(text, plugin="lab", rules=RULES):
    with pytest.raises(DocumentError) as error:
        read_registrations(text if isinstance(text, str) else json.dumps(text), rules, plugin=plugin)
    assert not [fault for fault in error.value.faults if not fault.message[0].islower()]  # marshmallow's own words
    return [fault.pointer for fault in error.value.faults]


def test_a_registration_is_parted_into_shape_and_target():
    registration = register()
    assert registration.shape == Shape(
        webhook_id="lab-order",
        method="PATCH",
        fillable_headers=("X-Locale", "X-Trace"),
        query_params=("lang", "page~1"),
        encoding="json",
        data_schema={"type": "object", "required": ["a"]},
        hidden=False,
        idempotent=True,
        timeout_ms=1500,
        reveal_url=True,
        description="Orders for the lab.",
    )
    assert registration.target == Target(
        Endpoint("https", "hook.vendor.com", 443, "/v2/orders", "tenant=acme-0001"),
        {"Authorization": SECRET, "Content-Type": "application/fhir+json"},
    )
    assert registration.warnings == ()


def test_the_shape_holds_nothing_of_the_target():
    raw = register().shape.to_json().decode()
    for secret in ("hook.vendor", "orders?", "acme", SECRET, "Authorization", "fhir"):
        assert secret not in raw


def test_a_target_does_not_show_its_values_when_printed():
    assert SECRET not in repr(register())


def test_shape_and_target_survive_json():
    registration = register(dataSchema={"const": 10**60})
    assert Shape.from_json(registration.shape.to_json()) == registration.shape
    assert target_from_json(registration.target.to_json()) == registration.target
    assert read_json(registration.shape.to_json())


def test_the_defaults_are_those_of_the_design():
    shape = read_registrations('{id: "a", url: "https://a.com", method: "POST"}', RULES, plugin="lab")[1][0].shape
    assert shape == Shape("a", "POST", timeout_ms=20_000)
    assert not shape.repeatable


@pytest.mark.parametrize(
    ("method", "repeatable"), [("GET", True), ("PUT", True), ("DELETE", True), ("POST", False), ("PATCH", False)]
)
def test_idempotent_methods_are_repeatable_and_others_when_they_say_so(method, repeatable):
    assert Shape("a", method).repeatable is repeatable
    assert Shape("a", method, idempotent=True).repeatable
    assert Shape("a", method, chain=True).repeatable


def test_the_method_defaults_to_post_with_payload_encoding_only():
    assert register(method=..., payload_encoding="base64").shape.method == "POST"
    assert register(method="PUT", payload_encoding="base64").shape.method == "PUT"
    assert faults({key: value for key, value in FULL.items() if key != "method"}) == ["/method"]


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [("application/x-www-form-urlencoded", "form"), ("Application/X-WWW-Form-Urlencoded; charset=utf-8", "form"), ("text/plain", "json"), (None, "json")],
)  # fmt: skip
def test_the_registered_content_type_says_whether_an_object_goes_out_as_a_form(content_type, encoding):
    assert register(headers={"content-TYPE": content_type}).shape.encoding == encoding
    assert register(headers={"Content-Type": content_type}, payload_encoding="base64").shape.encoding == "base64"
    for other in ("application/x-www-form-urlencoded", "text/plain"):  # of another header, which means nothing
        assert register(headers={"X-Type": other, "Content-Type": content_type}).shape.encoding == encoding


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""), ("id", "A"), ("id", "a b"), ("id", "-a"), ("id", "a-"), ("id", "a" * 65), ("id", "a\n"), ("id", "\u00e4"), ("id", 7), ("id", None),
        ("url", 5), ("url", None), ("url", "http://a.com"), ("url", ""),
        ("method", "get"), ("method", "HEAD"), ("method", "OPTIONS"), ("method", "TRACE"), ("method", "POST\n"), ("method", None), ("method", ["GET"]),
        ("payload_encoding", "hex"), ("payload_encoding", "BASE64"), ("payload_encoding", None), ("payload_encoding", True),
        ("hidden", "no"), ("hidden", 1), ("hidden", None), ("idempotent", "true"), ("revealUrl", 0),
        ("timeout", 0), ("timeout", -1), ("timeout", 120.001), ("timeout", "5"), ("timeout", True), ("timeout", None), ("timeout", 10**60),
        ("description", 5), ("description", "x" * 2001),
        ("queryParams", "lang"), ("queryParams", {}), ("queryParams", {"lang": None}), ("queryParams", ["a", "a"]), ("queryParams", None),
        ("queryParams", [f"p{number}" for number in range(33)]),
        ("headers", []), ("headers", "X-A: b"), ("headers", None), ("headers", {f"X-{number}": None for number in range(65)}),
        ("headers", {f"X-{number}": "a" * 2048 for number in range(5)}),
        ("dataSchema", None), ("dataSchema", "object"), ("dataSchema", []), ("dataSchema", {"type": "thing"}),
        ("dataSchema", {"$schema": "http://json-schema.org/draft-07/schema#"}), ("dataSchema", {"$schema": {}}),
        ("dataSchema", {"$ref": "http://127.0.0.1:1/x"}), ("dataSchema", {"$ref": "file:///etc/passwd"}), ("dataSchema", {"$ref": "other.json"}),
        ("dataSchema", {"properties": {"a": {"items": [{"$ref": "x"}]}}}), ("dataSchema", {"$defs": {"enum": {"$dynamicRef": "http://x/#a"}}}),
        ("dataSchema", {"$ref": "#/$defs/none"}),
        ("dataSchema", OUTWARD), ("dataSchema", {"not": OUTWARD}), ("dataSchema", {"allOf": [OUTWARD]}), ("dataSchema", {"properties": {"a": OUTWARD}}),
        ("dataSchema", {"pattern": "(?=a)"}), ("dataSchema", {"pattern": "("}), ("dataSchema", {"description": "x" * 65_536}),
    ],
)  # fmt: skip
def test_a_bad_value_is_a_fault_of_its_field_alone(field, value):
    found = faults({**FULL, field: value})
    assert found
    assert all(pointer == f"/{field}" or pointer.startswith(f"/{field}/") for pointer in found)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "a"), ("id", "0_-9"), ("id", "a" * 64), ("timeout", 120), ("timeout", 0.0001), ("timeout", 1), ("queryParams", []),
        ("queryParams", [f"p{number}" for number in range(32)]), ("headers", {}), ("headers", {f"X-{number}": "a" * 2048 for number in range(4)}),
        ("headers", {"X-A": "a b  c~!"}), ("headers", {"a": "b"}), ("headers", {"X-" + "a" * 62: "b"}),
        ("headers", {"Content-Type": None, "Accept": None, "User-Agent": None}), ("headers", {"Content-Type": "a/b", "Accept": "a/b", "User-Agent": "x"}),
        ("headers", {"Cookie": "session=12345678", "X-Api-Key": "12345678", "x-amz-target": "12345678"}),
        ("dataSchema", True), ("dataSchema", {}), ("dataSchema", {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}), ("dataSchema", {"$ref": "#"}),
        ("dataSchema", {"const": {"$ref": "http://x/"}}), ("dataSchema", {"default": {"$ref": "http://x/"}}),
        ("dataSchema", {"enum": [{"$ref": "http://x/"}]}), ("dataSchema", {"examples": [{"$ref": "http://x/"}]}), ("dataSchema", {"properties": {"$ref": {"type": "string"}}}),
        ("dataSchema", {"$schema": "https://json-schema.org/draft/2020-12/schema"}), ("dataSchema", {"$schema": "https://json-schema.org/draft/2020-12/schema#"}),
    ],
)  # fmt: skip
def test_a_good_value_is_taken(field, value):
    assert register(**{field: value})


def test_data_and_answers_are_each_checked_by_a_schema_of_their_own():
    shape = register(dataSchema={"type": "string"}, responseSchema={"type": "integer"}).shape
    assert (shape.takes_answer(1), shape.takes_answer("x")) == (True, False)
    assert ([*shape.schema_faults("x")], len([*shape.schema_faults(1)])) == ([], 1)
    assert (Shape("a", "POST").takes_answer(1), [*Shape("a", "POST").schema_faults(1)]) == (True, [])


@pytest.mark.parametrize("half", ["\ud800", "caf\udce9"])
def test_an_answer_with_half_of_a_surrogate_pair_in_a_name_does_not_fit_a_schema_of_names(half):
    shape = register(responseSchema={"additionalProperties": {"const": 1}}).shape
    assert [shape.takes_answer({name: 1}) for name in ("\U0001f600", half)] == [True, False]


@pytest.mark.parametrize("field", ["dataSchema", "responseSchema"])
@pytest.mark.parametrize(
    ("schema", "said"),
    [
        *((schema, "must be a JSON Schema: an object, true or false") for schema in ("object", 5, [], [{}])),
        ({"title": "x" * 65_536}, "is larger than 65536 bytes"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "must be JSON Schema 2020-12 (`$schema` names another dialect)"),
        ({"properties": {"a~b/c": OUTWARD}}, "has a reference at /properties/a~0b~1c/$ref that does not begin with `#`"),
        ({"anyOf": [True, OUTWARD]}, "has a reference at /anyOf/1/$ref that does not begin with `#`"),
        ({"properties": 5}, "is not a valid JSON Schema at /properties (patterns: without look-around)"),
        ({"properties": [OUTWARD]}, "has a reference at /properties/0/$ref that does not begin with `#`"),
        ({"a": {"$dynamicRef": "x"}}, "has a reference at /a/$dynamicRef that does not begin with `#`"),
        ({"not": {"$recursiveRef": "x#"}}, "has a reference at /not/$recursiveRef that does not begin with `#`"),
        *(
            ({keyword: {"default": OUTWARD}}, f"has a reference at /{keyword}/default/$ref that does not begin with `#`")
            for keyword in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
        ),
        ({"$ref": "#/$defs/none"}, "has a reference that leads nowhere"),
        ({"type": "thing"}, "is not a valid JSON Schema at /type (patterns: without look-around)"),
        ({"properties": {"a": {"pattern": "(?=a)"}}}, "is not a valid JSON Schema at /properties/a/pattern (patterns: without look-around)"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_schema_is_told(field, schema, said):
    with pytest.raises(DocumentError) as caught:
        register(**{field: schema})
    assert [(fault.pointer, fault.message) for fault in caught.value.faults] == [(f"/{field}", said)]


def test_a_schema_that_is_too_deep_for_its_compiler_is_no_valid_one():
    schema = True
    for _ in range(300):
        schema = {"not": schema}
    with pytest.raises(ValueError, match=r"^is not a valid JSON Schema$"):
        compile_schema(schema)


@pytest.mark.parametrize("keyword", ["const", "enum", "default", "examples"])
def test_nothing_is_fetched_for_a_schema_even_if_what_it_calls_data_is_one(keyword):
    with receiver(json_answer({})) as endpoint:
        url = f"{endpoint.url}/schema"
        data = [{"$ref": url}] if keyword in {"enum", "examples"} else {"$ref": url}
        within = "/0" if keyword in {"enum", "examples"} else ""
        schema = {keyword: data, "properties": {"a": {"$ref": f"#/{keyword}{within}"}}}
        with pytest.raises(DocumentError) as caught:
            register(dataSchema=schema)
        assert register(dataSchema={"$defs": {"a": {"$id": url, "$schema": url}}})  # nor for a part's own dialect
    assert [fault.message for fault in caught.value.faults] == ["has a reference that leads nowhere"]
    assert endpoint.requests == []


@pytest.mark.parametrize(
    "field",
    [
        "result",
        "verify_tls",
        "Id",
        "payloadEncoding",
        "plugin_",
    ],
)
def test_an_unknown_field_is_refused(field):
    assert faults({**FULL, field: 1}) == [f"/{field}"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("retry", {"attempts": 5}),
        ("retry", {"attempts": 1, "initial": 0.5, "factor": 1, "maximum": 86_400, "statuses": [429, 500]}),
        ("concurrency", 1),
        ("concurrency", 100_000),
        ("rate", "1/s"),
        ("rate", "600/m"),
    ],
)
def test_how_fast_and_how_often_a_webhook_is_called_is_taken_and_survives_the_store(field, value):
    shape = register(**{field: value}).shape
    assert Shape.from_json(shape.to_json()) == shape
    assert getattr(shape, field) is not None


@pytest.mark.parametrize(
    ("field", "value", "pointer"),
    [
        ("retry", 3, "/retry"),
        ("retry", {}, "/retry/attempts"),
        ("retry", {"attempts": 0}, "/retry/attempts"),
        ("retry", {"attempts": True}, "/retry/attempts"),
        ("retry", {"attempts": 2, "initial": 0}, "/retry/initial"),
        ("retry", {"attempts": 2, "factor": 0.5}, "/retry/factor"),
        ("retry", {"attempts": 2, "maximum": 90_000}, "/retry/maximum"),
        ("retry", {"attempts": 2, "statuses": [200]}, "/retry/statuses/0"),
        ("retry", {"attempts": 2, "statuses": [500, None]}, "/retry/statuses/1"),
        ("retry", {"attempts": 2, "statuses": "500"}, "/retry/statuses"),
        ("retry", {"attempts": 2, "jitter": 1}, "/retry/jitter"),
        ("concurrency", 0, "/concurrency"),
        ("concurrency", "5", "/concurrency"),
        ("concurrency", 1.5, "/concurrency"),
        ("rate", "0/s", "/rate"),
        ("rate", "5/h", "/rate"),
        ("rate", " 5/s", "/rate"),
        ("rate", 5, "/rate"),
    ],
)
def test_limits_out_of_their_range_are_named(field, value, pointer):
    assert faults({**FULL, field: value}) == [pointer]


DAY_S = 86_400
#: The least and the most of each number of a registration.
RANGES = {
    ("timeout",): (0.001, 120),
    ("maxAge",): (1, 30 * DAY_S),
    ("concurrency",): (1, 100_000),
    ("retry", "attempts"): (1, 100),
    ("retry", "initial"): (0.001, DAY_S),
    ("retry", "factor"): (1, 100),
    ("retry", "maximum"): (0.001, DAY_S),
    ("retry", "statuses"): (400, 599),
}


@pytest.mark.parametrize("place", RANGES, ids="/".join)
def test_a_number_is_taken_up_to_its_bounds_and_refused_beyond(place):
    def given(number):
        value = [number] if place[-1] == "statuses" else number
        return {place[0]: value if len(place) == 1 else {"attempts": 2, place[1]: value}}

    least, most = RANGES[place]
    for number in (least, most):
        shape = register(**given(number)).shape
        assert Shape.from_json(shape.to_json()) == shape
    for number in (0 if least == 0.001 else least - 1, most + 1):
        (pointer,) = faults(FULL | given(number))
        assert pointer.startswith(f"/{'/'.join(place)}")


#: Texts and lists that may be so long: the value of a length, and how long it may be.
LENGTHS = {
    "description": (lambda length: "x" * length, 2_000),
    "dataSchema": (lambda length: {"title": "x" * (length - len('{"title":""}'))}, 65_536),
    "responseSchema": (lambda length: {"title": "x" * (length - len('{"title":""}'))}, 65_536),
    "fixedData": (lambda length: {"a": "x" * (length - len('{"a":""}'))}, 8_192),
    "queryParams": (lambda length: [f"p{number}" for number in range(length)], 32),
    "headers": (lambda length: {f"X-{number}": None for number in range(length)}, 64),
    "retry/statuses": (lambda length: [400 + number for number in range(length)], 50),
}


@pytest.mark.parametrize("field", LENGTHS)
def test_a_field_is_as_long_as_it_may_be_and_no_longer(field):
    make, most = LENGTHS[field]

    def given(length):
        name, _, inner = field.partition("/")
        return {name: {"attempts": 2, inner: make(length)} if inner else make(length)}

    assert register(**given(most))
    assert faults(FULL | given(most + 1)) == [f"/{field}"]


AGE_RULE = 'must be a number of seconds or a string such as "90s", "15m", "12h" or "7d", 1 s to 30 d'
ID_RULE = "must be 1 to 64 of a-z, 0-9, `_` and `-`, beginning and ending with a letter or digit"
#: Bad values of fields, where their faults are, and what is told there.
TOLD = [
    ("hidden", 1, "/hidden", "must be true or false"),
    ("timeout", 121, "/timeout", "must be a number, more than 0 and at most 120 seconds"),
    ("retry", 5, "/retry", "must be an object"),
    ("retry", {}, "/retry/attempts", "is required"),
    ("retry", {"attempts": 101}, "/retry/attempts", "must be a whole number from 1 to 100"),
    ("retry", {"attempts": 2, "factor": 0.5}, "/retry/factor", "must be a number, at least 1 and at most 100"),
    ("retry", {"attempts": 2, "initial": 0}, "/retry/initial", "must be a number, more than 0 and at most 86400 seconds"),
    ("retry", {"attempts": 2, "statuses": 5}, "/retry/statuses", "must be a list of statuses"),
    ("retry", {"attempts": 2, "statuses": [500] * 51}, "/retry/statuses", "holds more than 50 statuses"),
    *(("maxAge", value, "/maxAge", AGE_RULE) for value in (0, "x", True, [], "31d")),
    ("rate", "5/h", "/rate", 'must be a rate such as "50/s" or "600/m"'),
    ("description", "x" * 2_001, "/description", "is longer than 2,000 characters"),
    ("description", 5, "/description", "must be a string (in quotes)"),
    ("queryParams", "a", "/queryParams", "must be a list of names"),
    ("queryParams", [f"p{number}" for number in range(33)], "/queryParams", "holds more than 32 names"),
    ("queryParams", ["a", "a"], "/queryParams", "holds a name twice"),
    ("queryParams", [None], "/queryParams/0", "must not be null: leave it out"),
    ("queryParams", ["a b"], "/queryParams/0", "must be 1 to 64 of letters, digits and `._~-`"),
    ("headers", [], "/headers", "must be an object of header names and values"),
    ("headers", {"X-A": 5}, "/headers/X-A", "must be a string"),
    ("headers", {f"X-{number}": None for number in range(65)}, "/headers", "holds more than 64 headers"),
    ("fixedData", {}, "/fixedData", "must be an object of at least one member, with values"),
    ("fixedData", {"a": "x" * 9_000}, "/fixedData", "is larger than 8192 bytes"),
    ("fixedData", {"a": "\0"}, "/fixedData", "holds the character NUL"),
    ("id", None, "/id", "must not be null: leave it out"),
    *((name, "A", f"/{name}", ID_RULE) for name in ("id", "callback")),
    ("method", "get", "/method", "must be exactly one of GET, POST, PUT, PATCH, DELETE"),
    ("payload", "x", "/payload", 'must be "multipart"'),
    ("payload_encoding", "hex", "/payload_encoding", 'must be "base64"'),
    ("Id", 1, "/Id", "is not a known field; did you mean `id`?"),
    ("result", "a", "/result", "is only allowed with `steps`"),
    ("pathParams", [], "/pathParams", "must be an object of names and objects such as {pattern: ...}"),
    ("pathParams", {"a": 5}, "/pathParams/a", "must be an object with nothing but a `pattern`, which may be left out"),
    ("pathParams", {"a": {"pattern": ""}}, "/pathParams/a/pattern", "must be a string of 1 to 256 characters"),
    ("pathParams", {"a": {"pattern": "("}}, "/pathParams/a/pattern", "is not a regular expression (without look-around)"),
    ("pathParams", {"a/b": {}}, "/pathParams/a~1b", "is not in the path of `url`, as a segment `{a/b}`"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "pointer", "said"), TOLD)
def test_what_is_wrong_with_a_field_is_told_at_its_place(field, value, pointer, said):
    with pytest.raises(DocumentError) as caught:
        register(**{field: value})
    assert [(fault.pointer, fault.message) for fault in caught.value.faults] == [(pointer, said)]


def test_header_values_are_as_long_as_they_may_be_each_and_together():
    longest = {f"X-{number}": "a" * 2_048 for number in range(4)}
    assert register(headers=longest | {"X-Open": None}).target.headers == longest
    assert faults(FULL | {"headers": longest | {"X-One": "a"}}) == ["/headers"]
    assert faults(FULL | {"headers": {"X-One": "a" * 2_049}}) == ["/headers/X-One"]


@pytest.mark.parametrize(
    ("seconds", "timeout_ms"), [(0.0001, 1), (0.001, 1), (0.0011, 2), (1.5, 1_500), (1.9991, 2_000), (120, 120_000)]
)
def test_no_part_of_a_timeout_is_lost(seconds, timeout_ms):
    assert register(timeout=seconds).shape.timeout_ms == timeout_ms


@pytest.mark.parametrize(
    ("written", "max_age_ms"),
    [
        (1, 1_000),
        (1.5, 1_500),
        (2.001, 2_001),
        ("90s", 90_000),
        ("15m", 900_000),
        ("12h", 43_200_000),
        ("7d", 604_800_000),
    ],
)
def test_how_old_a_call_may_become_is_a_number_of_seconds_or_a_duration(written, max_age_ms):
    shape = register(maxAge=written).shape
    assert Shape.from_json(shape.to_json()).max_age_ms == shape.max_age_ms == max_age_ms


@pytest.mark.parametrize("written", [0, 0.999, -1, True, "0s", "31d", "1w", "", [], {}, None])
def test_what_is_no_time_that_a_call_may_take_is_refused(written):
    assert faults(FULL | {"maxAge": written}) == ["/maxAge"]


@pytest.mark.parametrize("written", ["05/s", "5/s ", "+5/s", "5 /s", "5/S", "5/60s"])
def test_a_rate_is_written_in_one_way(written):
    assert faults(FULL | {"rate": written}) == ["/rate"]


FORBIDDEN = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "http2-settings",
    "accept-encoding",
    "content-encoding",
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "range",
    "if-range",
    "date",
    "age",
    "max-forwards",
    "alt-svc",
    "early-data",
    "sec-fetch-site",
    "access-control-allow-origin",
]


@pytest.mark.parametrize("name", FORBIDDEN)
@pytest.mark.parametrize("value", [None, "", "prefilled"])
@pytest.mark.parametrize("hidden", [True, False])
def test_a_forbidden_header_is_refused_in_any_case(name, value, hidden):
    assert faults({**FULL, "hidden": hidden, "headers": {name.title(): value}}) == [f"/headers/{name.title()}"]


@pytest.mark.parametrize(
    "name",
    ["Authorization", "cookie", "X-API-Key", "x-amz-date", "X-Goog-Api-Key", "x-ms-version", "CF-Access-Client-Id"],
)
def test_a_credential_is_pre_filled_or_filled_by_a_chain_but_never_by_a_caller(name):
    assert faults({**FULL, "headers": {name: None}}) == [f"/headers/{name}"]
    assert register(headers={name: "12345678"}).target.headers == {name: "12345678"}
    assert register(headers={name: None}, hidden=True).shape.fillable_headers == (name,)


@pytest.mark.parametrize("name", ["", "X A", "X:", "-X", "X-", "X_A", "X" * 65, "X\n", "X-\u212a", "X/A~"])
def test_a_header_name_has_a_grammar(name):
    escaped = name.replace("~", "~0").replace("/", "~1")
    assert faults({**FULL, "headers": {name: None}}) == [f"/headers/{escaped}"]


@pytest.mark.parametrize(
    "value",
    [" a", "a ", "a\tb", "a\nb", "a\r\n b", "\u00e9", "a\x00", "a\x7f", " ", "a" * 2049, 5, True, ["a"], {"a": "b"}],
)
def test_a_pre_filled_value_has_a_grammar(value):
    assert faults({**FULL, "headers": {"X-A": value}}) == ["/headers/X-A"]


def test_the_same_header_in_two_cases_is_refused():
    assert faults({**FULL, "headers": {"X-A": "12345678", "x-a": None}}) == ["/headers/x-a"]
    for value, said in (("12345678", "is given twice"), (None, "is given twice"), ("bad\n", "must be visible ASCII")):
        with pytest.raises(DocumentError) as caught:
            register(headers={"x-A": None, "X-B": None, "X-a": value})
        ((pointer, message),) = [(fault.pointer, fault.message) for fault in caught.value.faults]
        assert (pointer, said in message) == ("/headers/X-a", True)


def test_a_query_name_that_is_fixed_in_the_url_cannot_be_left_to_callers():
    assert faults({**FULL, "queryParams": ["lang", "tenant"]}) == ["/queryParams/1"]
    assert faults({**FULL, "url": "https://a.com/?a%7Cb=1&x", "queryParams": ["x"]}) == ["/queryParams/0"]


@pytest.mark.parametrize("name", ["", "a b", "a&b", "a=b", "a\n", "a" * 65, "\u00e9", 5, None, "a[]"])
def test_a_query_name_has_a_grammar(name):
    assert faults({**FULL, "queryParams": ["ok", name]}) == ["/queryParams/1"]


def test_a_short_secret_is_taken_with_a_warning_that_does_not_quote_it():
    warnings = register(headers={"X-Token": "hunter2", "Accept": "a/b", "X-Long": "12345678"}).warnings
    assert len(warnings) == 1
    assert "X-Token" in warnings[0]
    assert "hunter2" not in warnings[0]


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST", "PUT"])
@pytest.mark.parametrize(
    "field", [{}, {"dataSchema": True}, {"payload": "multipart"}, {"payload_encoding": "base64"}], ids=str
)
def test_a_webhook_that_carries_no_data_is_told_what_is_in_vain(method, field):
    warnings = register(**{"method": method, "headers": {}, "dataSchema": ...} | field).warnings
    told = (f"A {method} request carries no data: dataSchema, payload and payload_encoding have no effect.",)
    assert warnings == (told if method in {"GET", "DELETE"} and field else ())


@pytest.mark.parametrize("length", [7, 8])
def test_each_secret_that_is_too_short_to_be_masked_is_named(length):
    value = "x" * length
    headers = {"X-Key": value, "Accept": "a/b", "USER-AGENT": "x", "X-Open": None}
    auth = {"type": "basic", "username": "u", "password": value}
    warnings = register(headers=headers, auth=auth, fixedData={"a": {"b/c": [value, 5, True, None]}}).warnings
    whats = ("The value of X-Key", "The password", "The value of fixedData/a/b~1c/0")
    told = tuple(f"{what} is shorter than 8 characters: it cannot be masked in answers." for what in whats)
    assert warnings == (told if length == 7 else ())


def test_every_fault_is_named_with_its_place():
    text = """{
  id: "Bad Id"
  url: "http://a.com/secret-path"
  method: "FETCH"
  headers: {"Host": "x"
            "X-A": "\u00e9"}
  timeout: "5"
  colour: "crimson"
}
{id: "b"}
{id: "c", url: "https://c.com", method: "GET"}
{id: "c", url: "https://c.com", method: "GET"}
5"""
    with pytest.raises(DocumentError) as error:
        read_registrations(text, RULES, plugin="lab")
    found = {(fault.pointer, fault.line, fault.column) for fault in error.value.faults}
    assert found == {
        ("/0/id", 2, 3), ("/0/url", 3, 3), ("/0/method", 4, 3), ("/0/headers/Host", 5, 13), ("/0/headers/X-A", 6, 13), ("/0/timeout", 7, 3),
        ("/0/colour", 8, 3), ("/1/url", 10, 1), ("/1/method", 10, 1), ("/3/id", 12, 2), ("/4", 13, 1),
    }  # fmt: skip
    said = " ".join(map(str, error.value.faults))
    for quoted in ("Bad Id", "secret-path", "FETCH", "crimson", "\u00e9"):
        assert quoted not in said


@pytest.mark.parametrize("most", [1, 2, 5, 7, 100])
def test_of_many_faults_the_first_of_the_document_are_named(monkeypatch, most):
    monkeypatch.setattr("relay.registration.document.MAX_FAULTS", most)
    text = """[
      {zeal: 1, id: "a", method: "FETCH", axis: 2, url: "http://a.com/"},
      {url: 5, id: "a", timeout: 0, method: "GET"},
      {method: "GET", timeout: "5", id: "Bad", url: "https://a.com/"}]"""
    order = ["/0/zeal", "/0/method", "/0/axis", "/0/url", "/1/url", "/1/id", "/1/timeout", "/2/timeout", "/2/id"]
    assert faults(text) == order[:most]


def test_the_plugin_is_named_beside_the_document_or_in_it():
    config = json.dumps({"plugin": "lab", "webhooks": [FULL]})
    assert read_registrations(config, RULES, plugin=None)[0] == "lab"
    assert read_registrations(config, RULES, plugin="lab")[0] == "lab"
    assert faults(config, plugin="other") == ["/plugin"]
    assert faults(FULL, plugin=None) == [""]
    assert faults(FULL, plugin="Not A Plugin") == ["/plugin"]
    assert faults({"plugin": "", "webhooks": [FULL]}, plugin=None) == ["/plugin"]
    assert faults({"plugin": "a\n", "webhooks": [FULL]}, plugin=None) == ["/plugin"]
    assert faults({"plugin": "lab", "webhooks": [{**FULL, "id": 5}]}) == ["/webhooks/0/id"]
    assert read_registrations(json.dumps({"webhooks": [FULL]}), RULES, plugin="lab")[0] == "lab"
    for text, plugin, name in (
        (config, None, "lab"),
        (json.dumps(FULL), "own", "own"),
        (json.dumps(FULL), None, "usual"),
    ):
        assert read_registrations(text, RULES, plugin=plugin, default_plugin="usual")[0] == name


def test_the_same_id_twice_in_a_document_is_refused():
    assert faults([FULL, {**FULL, "id": "other"}, FULL]) == ["/2/id"]
    assert faults([FULL, FULL, FULL]) == ["/1/id", "/2/id"]


@pytest.mark.parametrize("bad", [(0,), (1,), (0, 1)])
def test_the_same_id_twice_is_said_whatever_else_is_wrong_with_either(bad):
    webhooks = [FULL | ({"timeout": 0} if number in bad else {}) for number in range(2)]
    assert sorted(faults(webhooks)) == sorted(["/1/id", *(f"/{number}/timeout" for number in bad)])


def test_both_printed_examples_register():
    text = """{
id: "get-randomapi"
url: "https://coviu.com/api/v1/randomApi",
method: "GET",
headers: {},
queryParams: ["pageNum"]
},
{
id: "send-jpeg",
url: "https://postman-echo.com/post",
headers: {
"Content-Type": "image/jpeg"
},
payload_encoding: "base64"
}"""
    first, second = read_registrations(text, RULES, plugin="lab")[1]
    assert first.shape == Shape("get-randomapi", "GET", query_params=("pageNum",))
    assert first.target.endpoint.url == "https://coviu.com/api/v1/randomApi"
    assert second.shape == Shape("send-jpeg", "POST", encoding="base64")
    assert second.target.headers == {"Content-Type": "image/jpeg"}


def test_a_pattern_that_takes_others_exponential_time_is_answered_at_once():
    shape = register(dataSchema={"pattern": "^(a+)+$"}).shape
    assert list(shape.schema_faults("a" * 50_000 + "b")) == [("", "does not fit the registered schema: `pattern`")]


def test_a_schema_fault_says_where_and_which_keyword_and_nothing_of_the_data():
    schema = {
        "properties": {"a": {"type": "integer"}, "b/~": {"items": {"maximum": 3}}, "c": False},
        "required": ["z"],
        "additionalProperties": False,
    }
    found = list(register(dataSchema=schema).shape.schema_faults({"a": "hunter2", "b/~": [1, 5], "c": 1, "hunter3": 1}))
    assert {pointer for pointer, _ in found} == {"/a", "/b~1~0/1", "/c", ""}
    assert "hunter" not in str(found)
