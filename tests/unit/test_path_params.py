"""Path parameters: what a registration may leave to callers in its path, and what a caller may put there."""

from __future__ import annotations

import json
import time
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.answer.masking import Mask
from relay.chains.checking import chain_faults
from relay.egress import AddressPolicy
from relay.errors import DocumentError, RequestRejected
from relay.registration import Shape, target_from_json
from relay.registration.callback import callback_faults
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.registration.path_params import (
    MAX_PATH_PARAMS,
    MAX_PATH_VALUE_LENGTH,
    MAX_PATTERN_LENGTH,
    segment_fault,
)
from relay.request.trigger import Trigger, check
from tests.path_values import HOSTILE, UNENDING
from tests.rendered import render

RULES = EndpointRules(AddressPolicy(), frozenset())
URL = "https://ehr.example.com/fhir/Patient/{patientId}/Observation"
REF = "0199f0a0-0000-7000-8000-000000000000"


def registered(url=URL, path_params=..., **more):
    fields = {"id": "observations", "url": url, "method": "GET", **more}
    if path_params is not ...:
        fields["pathParams"] = path_params
    return read_registrations(json.dumps(fields), RULES, plugin="ehr")[1][0]


def faults(url=URL, path_params=..., **more):
    with pytest.raises(DocumentError) as error:
        registered(url, path_params, **more)
    return [(fault.pointer, fault.message) for fault in error.value.faults]


def refused(registration, **members):
    with pytest.raises(RequestRejected) as error:
        check(registration.shape, Trigger.from_value(members))
    return {fault.pointer: fault.message for fault in error.value.faults}


def sent(registration, path_params, query_params=None):
    value = {"pathParams": path_params, "queryParams": query_params}
    trigger = check(registration.shape, Trigger.from_value(value))
    assert check(registration.shape, Trigger.from_json(trigger.to_json())) == trigger
    assert all(isinstance(value, str) for value in trigger.path_params.values())
    return render(registration.shape, registration.target, trigger, reference_id=REF).url


def test_a_placeholder_of_the_path_is_filled_by_the_caller():
    assert sent(registered(), {"patientId": "4711"}) == "https://ehr.example.com/fhir/Patient/4711/Observation"
    assert sent(registered(), {"patientId": 4711}) == "https://ehr.example.com/fhir/Patient/4711/Observation"


def test_path_and_query_are_filled_together():
    registration = registered("https://ehr.example.com/{kind}/{id}?v=2", queryParams=["page"])
    url = sent(registration, {"kind": "Patient", "id": "a~b"}, {"page": 3})
    assert url == "https://ehr.example.com/Patient/a~b?v=2&page=3"


def test_a_pattern_narrows_or_widens_what_callers_give_and_the_rest_is_percent_encoded():
    registration = registered(path_params={"patientId": {"pattern": "[0-9]+"}})
    assert refused(registration, pathParams={"patientId": "a1"}) == {
        "/pathParams/patientId": "does not fit its registered pattern"
    }
    registration = registered(path_params={"patientId": {"pattern": ".*"}})
    assert sent(registration, {"patientId": "ä b|c%?#;"}).endswith("/Patient/%C3%A4%20b%7Cc%25%3F%23%3B/Observation")


def test_a_pattern_has_to_match_the_whole_value():
    registration = registered(path_params={"patientId": {"pattern": "a|b"}})
    for value in ("ab", "xa", "bx", "a\n"):
        assert "/pathParams/patientId" in refused(registration, pathParams={"patientId": value})
    assert sent(registration, {"patientId": "b"}).endswith("/b/Observation")


@pytest.mark.parametrize("given", [{}, {"pattern": "[A-Za-z0-9._~-]{1,128}"}])
def test_without_a_pattern_a_value_is_of_unreserved_characters(given):
    registration = registered(path_params={"patientId": given})
    assert registration == registered()
    assert sent(registration, {"patientId": "x" * 128})
    for value in ("", ".", "..", "a b", "ä", "x" * 129, "a%20b", "a/b"):
        assert "/pathParams/patientId" in refused(registration, pathParams={"patientId": value})


def test_missing_unknown_and_bad_values_are_named_all_at_once():
    registration = registered("https://ehr.example.com/{a}/{b}")
    assert refused(registration, pathParams={"b": ["x"], "c": "1"}, queryParams={"q": 1}) == {
        "/queryParams/q": "is not a parameter of this webhook",
        "/pathParams/a": "is required: it is a part of the webhook's path",
        "/pathParams/b": "must be a string, a number, true or false",
        "/pathParams/c": "is not a path parameter of this webhook",
    }
    assert list(refused(registration)) == ["/pathParams/a", "/pathParams/b"]
    assert refused(registration, pathParams=["a"]) == {"/pathParams": "must be an object or null"}
    unknown = refused(registered("https://ehr.example.com/"), pathParams={"a": "1", "b": "2"})
    assert list(unknown) == ["/pathParams/a", "/pathParams/b"]


def test_a_fault_does_not_quote_the_value():
    assert "hunter2" not in str(refused(registered(), pathParams={"patientId": "hunter2/"}))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://ehr.example.com/a{id}", "not of a whole segment"),
        ("https://ehr.example.com/{id}.json", "not of a whole segment"),
        ("https://ehr.example.com/{a}{b}", "not of a whole segment"),
        ("https://ehr.example.com/{id", "not of a whole segment"),
        ("https://ehr.example.com/id}/x", "not of a whole segment"),
        ("https://ehr.example.com/{id}/{id}", "twice"),
        ("https://ehr.example.com/{}", "must be 1 to 64"),
        ("https://ehr.example.com/{a*}", "must be 1 to 64"),
        ("https://ehr.example.com/{" + "a" * 65 + "}", "must be 1 to 64"),
        ("https://ehr.example.com/x?id={id}", "`queryParams`"),
        ("https://{tenant}.example.com/x", "outside its path"),
        ("https://ehr.example.com:{port}/x", "outside its path"),
        ("https://ehr.example.com/{a}//x", "`//`"),
        ("https://ehr.example.com/{a}/../x", "dot segment"),
    ],
)
def test_a_placeholder_is_a_whole_segment_of_the_path_and_nothing_else(url, said):
    ((pointer, message),) = faults(url)
    assert pointer == "/url"
    assert said in message


def test_all_faults_of_a_registration_s_path_are_named_at_once():
    found = faults(
        path_params={"patientId": {"pattern": "(?=a)"}, "x/y": {}, "z": {"patern": "a"}, "w": "a"}, method="get"
    )
    assert {pointer for pointer, _ in found} >= {
        "/method",
        "/pathParams/patientId/pattern",
        "/pathParams/z",
        "/pathParams/w",
    }
    assert [pointer for pointer, _ in faults(path_params={"x/y": {}})] == ["/pathParams/x~1y"]


@pytest.mark.parametrize(
    "pattern", ["", "a" * (MAX_PATTERN_LENGTH + 1), "(", "a)|(?:b", r"(a)\1", "(?!a)", 5, None, ["a"]]
)
def test_what_is_no_regular_expression_is_refused(pattern):
    ((pointer, _),) = faults(path_params={"patientId": {"pattern": pattern}})
    assert pointer == "/pathParams/patientId/pattern"


def test_a_path_has_so_many_placeholders_and_no_more():
    names = [f"p{number}" for number in range(MAX_PATH_PARAMS + 1)]
    url = "https://ehr.example.com/" + "/".join(f"{{{name}}}" for name in names)
    assert [pointer for pointer, _ in faults(url)] == ["/url"]
    shorter = registered(url.rpartition("/")[0])
    assert list(shorter.shape.path_params) == names[:-1]
    assert [pointer for pointer, _ in faults(path_params={name: {} for name in names})] == ["/pathParams"]


@pytest.mark.parametrize("pattern", [".", "x" * MAX_PATTERN_LENGTH])
def test_a_pattern_is_as_short_and_as_long_as_it_may_be(pattern):
    assert registered(path_params={"patientId": {"pattern": pattern}}).shape.path_params == {"patientId": pattern}


def test_a_value_has_so_many_characters_and_no_more():
    assert segment_fault("x" * MAX_PATH_VALUE_LENGTH) is None
    assert "longer" in segment_fault("x" * (MAX_PATH_VALUE_LENGTH + 1))


@pytest.mark.parametrize("value", ["%ff", "a%C3", "%25ff", "\ud800"])
def test_what_is_or_decodes_to_no_text_is_refused(value):
    assert "UTF-8" in segment_fault(value)


@pytest.mark.parametrize(
    "value",
    ["%u002f\u0307", "%u002f\u0307x", "%25u005c\u0301", "%u002\uff46", "\uff05u002f", "\uff0f", "\uff3c", "\u2100"],
)
def test_neither_a_mark_nor_another_width_hides_a_separator(value):
    assert "slash" in segment_fault(f"a{value}")


def test_a_token_url_and_a_chain_leave_no_path_to_callers():
    auth = {"type": "oauth2", "tokenUrl": "https://id.example.com/{t}", "clientId": "c", "clientSecret": "s" * 8}
    assert [pointer for pointer, _ in faults(auth=auth)] == ["/auth/tokenUrl"]
    text = '{id: "c", steps: [{webhook: "a"}], pathParams: {}}'
    with pytest.raises(DocumentError) as error:
        read_registrations(text, RULES, plugin="ehr")
    assert [fault.pointer for fault in error.value.faults] == ["/pathParams"]


def test_shape_and_target_survive_json_and_an_old_shape_has_no_path_params():
    registration = registered(path_params={"patientId": {"pattern": "[0-9]+"}})
    assert Shape.from_json(registration.shape.to_json()) == registration.shape
    assert target_from_json(registration.target.to_json()) == registration.target
    assert "pathParams" not in json.loads(registered("https://ehr.example.com/x").shape.to_json())
    assert b"Observation" not in registration.shape.to_json()


@pytest.mark.parametrize("pattern", UNENDING)
def test_no_pattern_takes_longer_than_its_value_is_long(pattern):
    registration = registered(path_params={"patientId": {"pattern": pattern}})
    began_s = time.process_time()
    refused(registration, pathParams={"patientId": "a" * (MAX_PATH_VALUE_LENGTH - 1) + "!"})
    assert time.process_time() - began_s < 0.5


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_a_hostile_value_is_refused_or_one_segment_however_often_it_is_decoded(value):
    assert_one_segment(value)


@given(st.text(st.sampled_from("./\\%25eEfF;cC0aA?# ..\u2024\uff0f\u0430"), max_size=24) | st.text(max_size=12))
def test_any_value_is_refused_or_one_segment_however_often_it_is_decoded(value):
    assert_one_segment(value)


def assert_one_segment(value):
    registration = registered(path_params={"patientId": {"pattern": r"(?s).*"}})
    try:
        url = sent(registration, {"patientId": value})
    except RequestRejected:
        return
    assert url.isascii()
    for _ in range(8):
        assert url.startswith("https://ehr.example.com/fhir/Patient/")
        assert url.endswith("/Observation")
        assert url.count("/") == 6
        assert "\\" not in url
        assert not {segment.partition(";")[0].strip() for segment in url.split("/")[3:]} & {"", ".", ".."}
        url = unquote(url)


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_each_parameter_has_its_own_pattern_whichever_is_checked_first(order):
    url = "https://ehr.example.com/{a}/{b}"
    registration = registered(url, {"a": {"pattern": "[0-9]+"}, "b": {"pattern": "[a-z]+"}})
    fitting, wrong = {"a": "7", "b": "x"}, {"a": "x", "b": "7"}
    assert sent(registration, {name: fitting[name] for name in order}) == "https://ehr.example.com/7/x"
    for name in order:
        with pytest.raises(RequestRejected) as caught:
            sent(registration, {each: (wrong if each == name else fitting)[each] for each in order})
        assert [fault.pointer for fault in caught.value.faults] == [f"/pathParams/{name}"]


def answered(text, **more):
    registration = registered(**more)
    return Mask.of(registration.shape, registration.target).text(text)[0]


def test_an_echoed_address_is_masked_and_the_caller_s_own_value_is_not():
    for echo in (
        "https://ehr.example.com/fhir/Patient/4711/Observation",
        "GET /fhir/Patient/4711/Observation HTTP/1.1",
        "//ehr.example.com/fhir/Patient/4711/Observation?page=2",
        "fhir/Patient/4711/Observation",
    ):
        shown = answered(echo)
        assert "4711" in shown
        assert "ehr.example" not in shown
        assert "fhir" not in shown
        assert "Observation" not in shown


PARTS = ["/intern%C3%A4l/r4b%20x", "/Pati%20ents", "/Obs%20erv/vations"]


@pytest.mark.parametrize("count", range(1, 4))
@pytest.mark.parametrize("escaped", [True, False])
def test_each_part_of_a_path_beside_placeholders_is_masked_as_it_is_written_and_as_it_is_read(count, escaped):
    parts = PARTS[:count]
    path = "".join(f"{part}/{{p{number}}}" for number, part in enumerate(parts))
    for part in parts:
        shown = part if escaped else unquote(part)
        assert answered(f"no route {shown}, see", url=f"https://ehr.example.com{path}") == "no route [redacted], see"


@pytest.mark.parametrize("path", ["/{token}/{{id}}/in", "/{{id}}/{token}/in", "/{{id}}/in/{{other}}/{token}"])
def test_a_token_in_a_path_is_masked_alone_before_and_behind_placeholders(path):
    token = "b1e3-77d0-a9c2"
    url = f"https://ehr.example.com{path.format(token=token)}"
    assert answered(f"no {token}, see", url=url) == "no [redacted], see"


def test_what_a_resource_is_called_is_no_address():
    text = '{"resourceType": "MedicationRequest", "subject": {"reference": "Patient/4711"}}'
    assert answered(text, url="https://ehr.example.com/MedicationRequest/{id}/MedicationRequest") == text


def test_what_a_placeholder_is_called_is_no_address():
    text = '{"patientId": "4711"}'
    assert answered(text) == text


def test_an_address_that_is_revealed_is_not_masked():
    text = "https://ehr.example.com/fhir/Patient/4711/Observation"
    assert answered(text, revealUrl=True) == text


def step_faults_of(path_params, called):
    text = json.dumps({"id": "c", "steps": [{"webhook": "observations", "pathParams": path_params}]})
    chain = read_registrations(text, RULES, plugin="ehr")[1][0]
    return dict(chain_faults(chain.shape, chain.target, {"observations": called.shape}.get))


@pytest.mark.parametrize(
    ("path_params", "pointers"),
    [
        ({"patientId": "input.data.id"}, []),
        ({"patientId": "'4711'"}, []),
        ({"patientId": "`4711`"}, []),
        ({}, ["/steps/0/pathParams/patientId"]),
        ({"patientId": "'..'"}, ["/steps/0/pathParams/patientId"]),
        ({"patientId": "`null`"}, ["/steps/0/pathParams/patientId"]),
        ({"patientId": "input.data", "x": "input"}, ["/steps/0/pathParams/x"]),
        ({"x": "input"}, ["/steps/0/pathParams/patientId", "/steps/0/pathParams/x"]),
    ],
)
def test_a_step_has_to_fill_the_path_of_its_webhook_and_nothing_else(path_params, pointers):
    assert list(step_faults_of(path_params, registered())) == pointers


def test_a_step_whose_webhook_has_no_such_path_is_refused():
    assert list(step_faults_of({"patientId": "'1'"}, registered("https://ehr.example.com/x"))) == [
        "/steps/0/pathParams/patientId"
    ]


def test_a_chain_s_target_without_path_params_is_as_it_was_before_there_were_any():
    chain = read_registrations('{id: "c", steps: [{webhook: "a"}]}', RULES, plugin="ehr")[1][0]
    assert b"pathParams" not in chain.target.to_json()
    filled = '{id: "c", steps: [{webhook: "a", pathParams: {x: "input.data"}}]}'
    target = read_registrations(filled, RULES, plugin="ehr")[1][0].target
    assert target_from_json(target.to_json()) == target


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": URL}, "whose path"),
        ({"payload": "multipart"}, "bytes or files"),
        ({"fixedData": {"status": "x" * 8}}, "referenceId, status, error"),
        ({"fixedData": {"Error": {"a": "x" * 8}}}, "referenceId, status, error"),
        ({"fixedData": {"key": "x" * 8}}, None),
    ],
)
def test_what_a_callback_cannot_give_is_refused_when_it_is_named(fields, said):
    called = registered(**{"url": "https://ehr.example.com/x", "method": "POST", **fields})
    found = list(callback_faults(Shape("a", "POST", callback="observations"), {"observations": called.shape}.get))
    if said is None:
        assert found == []
    else:
        ((pointer, message),) = found
        assert pointer == "/callback"
        assert said in message


def test_show_and_explain_have_the_path(cli):
    cli.apply({"id": "observations", "url": URL, "method": "GET", "pathParams": {"patientId": {"pattern": "[0-9]+"}}})
    shown = cli.json("webhooks", "show", "observations", "--plugin", "acme")
    assert shown["pathParams"] == {"patientId": {"pattern": "[0-9]+"}}
    assert shown["url"] == URL
    assert "patientId: [0-9]+" in cli.run("webhooks", "show", "observations", "--plugin", "acme").output
    explained = cli.json("explain", "observations", "--plugin", "acme", "--path", "patientId=7")
    assert explained["url"] == URL.replace("{patientId}", "7")
