"""Chains as they are registered, and how their steps are checked against the webhooks that they name."""

from __future__ import annotations

import json
from itertools import permutations

import pytest

from relay.chains.checking import chain_faults
from relay.egress import AddressPolicy
from relay.errors import DocumentError
from relay.registration import ChainTarget, Shape, Step, Target, target_from_json
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.text.expressions import Expression

RULES = EndpointRules(AddressPolicy())
CHAIN = {
    "id": "book",
    "steps": [
        {"webhook": "login", "data": "{user: input.data.user}", "mask": ["steps[0].data.token"]},
        {
            "webhook": "find",
            "when": "input.data.id",
            "onError": "continue",
            "headers": {"Authorization": "join(' ', ['Bearer', steps[0].data.token])"},
            "queryParams": {"id": "input.data.id"},
        },
        {"webhook": "tell", "forEach": "steps[1].data.people", "data": "{to: item.address}"},
        {"webhook": "login"},
    ],
    "result": "steps[1].data",
    "headers": {"X-Note": None},
    "queryParams": ["page"],
    "dataSchema": {"type": "object"},
    "hidden": True,
    "timeout": 300,
    "description": "Books.",
}


def read(**changes):
    fields = {name: value for name, value in {**CHAIN, **changes}.items() if value is not ...}
    return read_registrations(json.dumps(fields), RULES, plugin="lab")[1][0]


def faults(**changes):
    with pytest.raises(DocumentError) as caught:
        read(**changes)
    assert not [fault for fault in caught.value.faults if not fault.message[0].islower()]  # marshmallow's own words
    return {fault.pointer: fault.message for fault in caught.value.faults}


def with_step(**changes):
    return {"steps": [{"webhook": "login", **changes}]}


def test_a_chain_is_parted_into_a_shape_without_its_plan_and_a_target():
    registration = read()
    assert registration.shape == Shape(
        "book",
        "POST",
        fillable_headers=("X-Note",),
        query_params=("page",),
        data_schema={"type": "object"},
        hidden=True,
        timeout_ms=300_000,
        description="Books.",
        chain=True,
        uses=("login", "find", "tell"),
    )
    assert registration.shape.repeatable
    assert registration.target.steps[2] == Step(
        "tell", data=Expression("{to: item.address}"), for_each=Expression("steps[1].data.people")
    )
    assert registration.target.result == Expression("steps[1].data")
    assert registration.warnings == ()


def test_a_chain_has_defaults():
    shape = read_registrations('{"id": "c", "steps": [{"webhook": "a"}]}', RULES, plugin="lab")[1][0].shape
    assert (shape.timeout_ms, shape.hidden, shape.fillable_headers, shape.uses) == (120_000, False, (), ("a",))


def test_both_halves_come_back_as_they_were_written():
    registration = read()
    assert Shape.from_json(registration.shape.to_json()) == registration.shape
    assert target_from_json(registration.target.to_json()) == registration.target
    webhook = read_registrations('{"id": "c", "url": "https://a.example.com/", "method": "GET"}', RULES, plugin="lab")[
        1
    ][0]
    assert isinstance(target_from_json(webhook.target.to_json()), Target)
    assert isinstance(registration.target, ChainTarget)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("url", "https://a.example.com/"), ("method", "POST"), ("payload_encoding", "base64"), ("concurrency", 3)),
        *(("rate", "5/s"), ("retry", {"attempts": 2}), ("signing", "whsec_x"), ("auth", {}), ("responseSchema", {})),
        *(("idempotent", True), ("revealUrl", True)),
    ],
)
def test_a_chain_has_no_fields_of_a_call_of_its_own(name, value):
    assert faults(**{name: value}) == {f"/{name}": "is not allowed with `steps`: a chain calls other webhooks"}


def test_a_webhook_has_no_result_expression():
    with pytest.raises(DocumentError) as caught:
        read_registrations(
            '{"id": "c", "url": "https://a.example.com/", "method": "GET", "result": "a"}', RULES, plugin="p"
        )
    assert [str(fault) for fault in caught.value.faults] == [
        "/result (line 1, column 63): is only allowed with `steps`"
    ]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"steps": []}, "/steps"),
        ({"steps": None}, "/steps"),
        ({"steps": {}}, "/steps"),
        ({"steps": [{"webhook": "a"}] * 51}, "/steps"),
        ({"steps": ["login"]}, "/steps/0"),
        ({"steps": [{}]}, "/steps/0/webhook"),
        ({"steps": [None]}, "/steps/0"),
        (with_step(webhook="No Id"), "/steps/0/webhook"),
        (with_step(data={"a": 1}), "/steps/0/data"),
        (with_step(data="a["), "/steps/0/data"),
        (with_step(data=None), "/steps/0/data"),
        (with_step(data="inptu.data"), "/steps/0/data"),
        (with_step(data="item"), "/steps/0/data"),
        (with_step(when="item.ok", forEach="input.data"), "/steps/0/when"),
        (with_step(forEach="item", data="item"), "/steps/0/forEach"),
        (with_step(mask=["item"], forEach="input.data"), "/steps/0/mask/0"),
        (with_step(headers={"X-A": "nope(a)"}), "/steps/0/headers/X-A"),
        (with_step(headers={"X-A": 1}), "/steps/0/headers/X-A"),
        (with_step(headers=["X-A"]), "/steps/0/headers"),
        (with_step(headers={f"X-{number}": "input" for number in range(65)}), "/steps/0/headers"),
        (with_step(queryParams={f"q{number}": "input" for number in range(33)}), "/steps/0/queryParams"),
        (with_step(pathParams={f"p{number}": "input" for number in range(9)}), "/steps/0/pathParams"),
        (with_step(queryParams={"a": "`"}), "/steps/0/queryParams/a"),
        (with_step(onError="go"), "/steps/0/onError"),
        (with_step(mask="input"), "/steps/0/mask"),
        (with_step(mask=["input", ""]), "/steps/0/mask/1"),
        (with_step(mask=["input", None]), "/steps/0/mask/1"),
        (with_step(mask=["input"] * 11), "/steps/0/mask"),
        (with_step(retry={}), "/steps/0/retry"),
        ({"result": "a b"}, "/result"),
        ({"result": "data.x"}, "/result"),
        ({"result": "item"}, "/result"),
        (with_step(headers={"X-A": "item"}), "/steps/0/headers/X-A"),
        (with_step(queryParams={"a": "item"}), "/steps/0/queryParams/a"),
        (with_step(pathParams={"a": "item"}), "/steps/0/pathParams/a"),
        ({"timeout": 901}, "/timeout"),
        ({"timeout": 0}, "/timeout"),
        ({"headers": {"X-A": "value-of-the-chain"}}, "/headers/X-A"),
        ({"headers": {"Authorization": None}, "hidden": False}, "/headers/Authorization"),
        ({"id": ...}, "/id"),
    ],
)
def test_a_fault_of_a_chain_is_named_with_its_place(changes, pointer):
    assert list(faults(**changes)) == [pointer]


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": [{"webhook": f"w-{number}"} for number in range(50)]},
        {"timeout": 900},
        with_step(mask=["input"] * 10),
        with_step(headers={f"X-{number}": "input" for number in range(64)}),
        with_step(queryParams={f"q{number}": "input" for number in range(32)}),
        with_step(pathParams={f"p{number}": "input" for number in range(8)}),
    ],
)
def test_a_chain_is_as_large_as_it_may_be(changes):
    registration = read(**changes)
    assert target_from_json(registration.target.to_json()) == registration.target


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": []}, "must be a list of 1 to 50 steps"),
        ({"steps": {}}, "must be a list of 1 to 50 steps"),
        (with_step(mask=["input"] * 11), "must be a list of at most 10 expressions"),
        (with_step(mask="input"), "must be a list of at most 10 expressions"),
        (with_step(headers=[]), "must be an object of names and expressions"),
        (with_step(headers={f"X-{number}": "input" for number in range(65)}), "holds more than 64 names"),
        (with_step(queryParams={f"q{number}": "input" for number in range(33)}), "holds more than 32 names"),
        (with_step(pathParams={f"p{number}": "input" for number in range(9)}), "holds more than 8 names"),
        ({"timeout": 901}, "must be a number, more than 0 and at most 900 seconds"),
    ],
)
def test_what_is_too_large_for_a_chain_is_told_how_large_it_may_be(changes, said):
    assert list(faults(**changes).values()) == [said]


def test_an_unknown_name_is_told_the_names_that_are_seen_where_it_stands():
    found = faults(**with_step(data="inptu.data", forEach="inptu.data", when="inptu.ok"), result="inptu.data")
    said = {pointer.rpartition("/")[2]: message.partition("sees only ")[2] for pointer, message in found.items()}
    outside, inside = "`input` and `steps`", "`input`, `steps` and `item`"
    assert said == {"data": inside, "forEach": outside, "when": outside, "result": outside}


def test_a_fault_in_a_step_has_its_line_and_column():
    text = (
        '{\n  id: "c"\n  steps: [\n    {webhook: "a", data: "input.data"}\n    {webhook: "b", data: "input["}\n  ]\n}'
    )
    with pytest.raises(DocumentError) as caught:
        read_registrations(text, RULES, plugin="lab")
    assert [(fault.pointer, fault.line, fault.column) for fault in caught.value.faults] == [("/steps/1/data", 5, 20)]
    assert "input[" not in str(caught.value.faults[0])


# -- against the webhooks that the steps name ------------------------------------------------------------------------

WEBHOOKS = {
    "login": Shape("login", "POST", data_schema={"type": "object", "required": ["user"]}, hidden=True),
    "find": Shape("find", "GET", fillable_headers=("Authorization", "X-Note"), query_params=("id",), hidden=True),
    "tell": Shape(
        "tell",
        "POST",
        data_schema={
            "$defs": {"kind": {"enum": ["mail", "sms"]}},
            "type": "object",
            "properties": {"to": {"type": "string"}, "kind": {"$ref": "#/$defs/kind"}},
            "required": ["to"],
        },
    ),
    "jpeg": Shape("jpeg", "POST", encoding="base64"),
    "elsewhere": Shape(
        "elsewhere",
        "POST",
        data_schema={"properties": {"to": {"$ref": "#/x-kinds/to"}}, "x-kinds": {"to": {"type": "string"}}},
    ),
}


def checked(steps, webhooks=WEBHOOKS, webhook_id="book"):
    registration = read(id=webhook_id, steps=steps, result=..., dataSchema=...)
    return dict(chain_faults(registration.shape, registration.target, {**webhooks, webhook_id: registration.shape}.get))


def test_a_chain_that_fits_its_webhooks_has_no_fault():
    assert checked(CHAIN["steps"][:3]) == {}


@pytest.mark.parametrize(
    ("step", "pointer", "message"),
    [
        ({"webhook": "gone"}, "/webhook", "is not registered for this plugin, and not in this document"),
        ({"webhook": "find", "headers": {"X-Other": "input"}}, "/headers/X-Other", "is not a header that `find` lets its caller fill"),
        ({"webhook": "find", "headers": {"x-note": "'a'", "X-Note": "'b'"}}, "/headers/X-Note", "is given twice (upper and lower case are the same)"),
        ({"webhook": "find", "queryParams": {"other": "input"}}, "/queryParams/other", "is not a parameter of `find`"),
        ({"webhook": "find", "headers": {"x-note": "''"}}, "/headers/x-note", "must be visible ASCII characters, with blanks only between them, and not empty (of `find`)"),
        ({"webhook": "find", "queryParams": {"id": "`[1]`"}}, "/queryParams/id", "must be a string, a number, true or false (of `find`)"),
        ({"webhook": "find", "data": "'body'"}, "/data", "a GET request carries no data (of `find`)"),
        ({"webhook": "login", "data": "'text'"}, "/data", "does not fit the registered schema: `type` (of `login`)"),
        ({"webhook": "login", "data": "`5`"}, "/data", "must be a string, an object, an array or null (of `login`)"),
        ({"webhook": "login"}, "/data", "does not fit the registered schema: `type` (of `login`)"),
        ({"webhook": "login", "data": "{name: 'x'}"}, "/data", "does not fit the registered schema: `required` of `user` (of `login`)"),
        ({"webhook": "tell", "data": "{to: input.data, kind: 'fax'}"}, "/data", "does not fit the registered schema: `enum` (member `kind`, of `tell`)"),
        ({"webhook": "jpeg", "data": "'not base64'"}, "/data", "is not valid base64 (RFC 4648, section 4, with padding) (of `jpeg`)"),
        ({"webhook": "book"}, "", "leads back to this chain"),
    ],
)  # fmt: skip
def test_a_step_that_cannot_fit_its_webhook_is_a_fault(step, pointer, message):
    assert checked([step]) == {f"/steps/0{pointer}" if pointer else "/steps": message}


@pytest.mark.parametrize(
    "schema",
    [None, True, {}, {"type": "object"}, {"required": ["to"]}, {"properties": {}}, {"properties": {"to": True}}],
)
def test_a_member_that_no_schema_describes_is_no_fault(schema):
    webhooks = {"hook": Shape("hook", "POST", data_schema=schema)}
    assert checked([{"webhook": "hook", "data": "{to: input.data, kind: 'fax'}"}], webhooks) == {}


@pytest.mark.parametrize(
    ("step", "pointer"),
    [
        ({"webhook": "tell", "data": "{to: 'ada', kind: 'fax'}"}, "/data"),
        ({"webhook": "tell", "data": "{to: input.data, kind: 'fax'}"}, "/data"),
        ({"webhook": "find", "queryParams": {"other": "`[1]`"}}, "/queryParams/other"),
        ({"webhook": "find", "queryParams": {"other": "`1`"}, "data": "'body'"}, "/queryParams/other"),
    ],
)
def test_a_fault_of_a_step_is_said_once_and_names_before_values(step, pointer):
    registration = read(steps=[step], result=..., dataSchema=...)
    faults = list(chain_faults(registration.shape, registration.target, WEBHOOKS.get))
    assert [pointer for pointer, _ in faults] == [f"/steps/0{pointer}"]


def test_the_faults_of_all_steps_are_said_together():
    steps = [{"webhook": "gone"}, {"webhook": "find", "queryParams": {"other": "input"}}, {"webhook": "book"}]
    assert checked(steps) == {
        "/steps/0/webhook": "is not registered for this plugin, and not in this document",
        "/steps/1/queryParams/other": "is not a parameter of `find`",
        "/steps": "leads back to this chain",
    }


@pytest.mark.parametrize("within", ["$defs", "definitions"])
def test_a_member_is_checked_against_what_its_schema_refers_to(within):
    properties = {"kind": {"$ref": f"#/{within}/kind"}}
    schema = {within: {"kind": {"enum": ["mail", "sms"]}}, "properties": properties, "required": ["to"]}
    webhooks = {"tell": Shape("tell", "POST", data_schema=schema)}
    said = {"/steps/0/data": "does not fit the registered schema: `enum` (member `kind`, of `tell`)"}
    for kind, faults_of in (("sms", {}), ("fax", said)):
        assert checked([{"webhook": "tell", "data": f"{{to: input.data, kind: '{kind}'}}"}], webhooks) == faults_of


@pytest.mark.parametrize("names", list(permutations(["x-note", "X-Note", "X-NOTE"], 2)))
def test_a_header_given_twice_is_a_fault_whichever_case_comes_first(names):
    said = checked([{"webhook": "find", "headers": dict.fromkeys(names, "input.data")}])
    assert said == {f"/steps/0/headers/{names[1]}": "is given twice (upper and lower case are the same)"}


@pytest.mark.parametrize(
    "step",
    [
        {"webhook": "login", "data": "input.data"},
        {"webhook": "login", "data": "{user: 'ada', more: input.data}"},
        {"webhook": "tell", "data": "{to: input.data, kind: 'sms'}"},
        {"webhook": "find", "headers": {"authorization": "'Bearer fixed'"}, "queryParams": {"id": "`12`"}},
        {"webhook": "find", "queryParams": {"id": "`null`"}, "data": "`{}`"},
        {"webhook": "find", "queryParams": {"id": "`true`"}, "headers": {"X-Note": "`12`", "Authorization": "`false`"}},
        {"webhook": "jpeg", "data": "'/9j/4AA='"},
        {"webhook": "elsewhere", "data": "{to: 'ada', more: input.data}"},
    ],
)
def test_what_may_fit_is_taken(step):
    assert checked([step]) == {}


def nested(depth):
    """Return chains ``c1``, which calls a plain webhook, to ``c<depth>``; each is a step of the next."""
    shapes = {"plain": Shape("plain", "POST")}
    for number in range(1, depth + 1):
        used = "plain" if number == 1 else f"c{number - 1}"
        shapes[f"c{number}"] = Shape(f"c{number}", "POST", chain=True, uses=(used,))
    return shapes


def test_chains_may_be_steps_of_chains_eight_deep():
    assert checked([{"webhook": "c7"}], nested(7)) == {}
    assert checked([{"webhook": "c8"}], nested(8)) == {"/steps": "has chains in chains deeper than 8"}


def test_a_way_back_through_other_chains_is_found():
    webhooks = {
        "a": Shape("a", "POST", chain=True, uses=("b",)),
        "b": Shape("b", "POST", chain=True, uses=("plain", "book")),
        "plain": Shape("plain", "POST"),
    }
    assert checked([{"webhook": "a"}], webhooks) == {"/steps": "leads back to this chain"}
