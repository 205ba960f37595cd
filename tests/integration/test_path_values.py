"""A caller's path value reaches the socket as one segment of the registered path, whatever it is."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from relay.domain.invocation import Outcome
from relay.egress import AddressPolicy
from relay.errors import RequestRejected
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.request.rendering import Template
from relay.request.trigger import Trigger, check
from tests.outbound import calling
from tests.path_values import HOSTILE
from tests.receivers import json_answer, receiver

REF = "0199f0a0-0000-7000-8000-000000000000"
ORDINARY = {"tenant": "t-1", "patientId": "4711", "last": "z"}
RULES = EndpointRules(AddressPolicy(allow=["127.0.0.0/8"]), frozenset())


@pytest.fixture(scope="module")
def caller():
    with calling() as made:
        yield made


@pytest.fixture(scope="module")
def endpoint():
    with receiver(json_answer({})) as served:
        yield served


@pytest.fixture(scope="module")
def registration(endpoint):
    fields = {
        "id": "observations",
        "url": f"{endpoint.url}/{{tenant}}/Patient/{{patientId}}/Observation/{{last}}?v=2",
        "method": "GET",
        "pathParams": {name: {"pattern": "(?s).*"} for name in ORDINARY},
    }
    return read_registrations(json.dumps(fields), RULES, plugin="ehr")[1][0]


@pytest.mark.parametrize("place", ORDINARY)
def test_the_request_line_has_exactly_the_registered_segments(caller, endpoint, registration, place):
    template = Template(registration.shape, registration.target)
    accepted, refused = [], {}
    for value in HOSTILE:
        given = ORDINARY | {place: value}
        try:
            request = template.fill(check(registration.shape, Trigger(path_params=given)), REF)
        except RequestRejected as refusal:
            refused[value] = [fault.pointer for fault in refusal.faults]
            continue
        before = len(endpoint.requests)
        reply = caller.call(request.url, None, method="GET")
        assert reply.outcome is Outcome.ANSWERED
        assert len(endpoint.requests) == before + 1
        line = endpoint.requests[-1].head.split(b"\r\n")[0].decode("ascii")
        tenant, patient, last = (quote(given[name], safe="") for name in ORDINARY)
        assert line == f"GET /hook/{tenant}/Patient/{patient}/Observation/{last}?v=2 HTTP/1.1"
        assert endpoint.requests[-1].header("Host") == f"127.0.0.1:{endpoint.port}"
        accepted.append(value)
    assert {"é", "?x=1", "#x", "a;x=1b", "@evil.example.com", "a%b", "x" * 1024} <= set(accepted)
    assert {"..", "/", "%2F", "%252F", "\u2215", "%u002f", "..;", "\\", "\x00", "\r\n", "x" * 4096, "%c0%af"} <= set(
        refused
    )
    assert all(pointers == [f"/pathParams/{place}"] for pointers in refused.values())
