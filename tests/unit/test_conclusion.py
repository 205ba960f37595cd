"""What is recorded about an attempt."""

from __future__ import annotations

import json
import math

import pytest
import requests

from relay.answer.endpoint_answer import EndpointAnswer
from relay.answer.masking import Mask
from relay.domain.invocation import Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.executor.conclusion import Conclusion, unsendable
from relay.executor.preparation import Prepared, Unsendable
from relay.registration import Shape, Target
from relay.registration.endpoint import Endpoint
from relay.registration.retrying import RetryPolicy
from relay.store.ledger.transitions import CallRecord
from relay.vault import Vault, result_owner

VAULT = Vault.from_text(Vault.new_key_text())
REFERENCE = new_reference_id()
SECRET = "planted-secret-value"
TARGET = Target(Endpoint("https", "planted.example.com", 443, "/in"), {"X-Key": SECRET})
SCHEMA = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}


def conclude(body, *, status=200, content_type="application/json", **shape):
    shape = Shape("hook", "POST", **shape)
    published = CallRecord(REFERENCE, State.QUEUED, "acme", "hook", 1, 1, b"", None, 20_000, "bulk")
    call = Prepared(published, requests.PreparedRequest(), shape, Mask.of(shape, TARGET))
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = EndpointAnswer(Outcome.ANSWERED, Sent.ANSWERED, status, content_type, raw, 5, len(raw), None, 1_000)
    return Conclusion(VAULT, None).conclude(call, "token", answer, 1_000)


def data_of(settlement):
    return json.loads(VAULT.open(settlement.result, result_owner("acme", REFERENCE)))


def test_an_answer_that_fits_the_response_schema_is_the_result():
    settled = conclude({"id": 7}, response_schema=SCHEMA)
    assert (settled.outcome, settled.status, settled.error) == (Outcome.ANSWERED, 200, False)
    assert data_of(settled) == {"id": 7}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ({"id": "7"}, "application/json"),
        ({}, "application/json"),
        (b"", "application/json"),
        (b"not json", "application/json"),
        (b"text", "text/plain"),
        (b"\xff\xd8\xff", "image/jpeg"),
    ],
)
def test_an_answer_that_does_not_fit_is_delivered_in_error_with_the_endpoint_s_status_and_without_its_data(
    body, content_type
):
    settled = conclude(body, status=201, content_type=content_type, response_schema=SCHEMA)
    assert (settled.state, settled.outcome) == (State.DELIVERED, Outcome.RESPONSE_REJECTED)
    assert (settled.status, settled.error, settled.result) == (201, True, b"")
    assert (settled.attempt.status, settled.attempt.outcome) == (201, Outcome.RESPONSE_REJECTED)
    assert settled.contacted


def test_a_failure_is_not_held_against_the_response_schema():
    settled = conclude({"why": "busy"}, status=503, response_schema=SCHEMA)
    assert (settled.outcome, settled.status) == (Outcome.ANSWERED, 503)
    assert data_of(settled) == {"why": "busy"}


def test_what_was_masked_does_not_make_an_answer_misfit():
    schema = {"type": "object", "properties": {"echo": {"const": SECRET}}}
    settled = conclude({"echo": SECRET}, response_schema=schema)
    assert (settled.outcome, settled.masked) == (Outcome.ANSWERED, 1)
    assert data_of(settled) == {"echo": "[redacted]"}


def test_integers_of_any_size_are_checked():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert conclude({"n": 10**40}, response_schema=schema).outcome is Outcome.ANSWERED
    assert conclude({"n": math.pi}, response_schema=schema).outcome is Outcome.RESPONSE_REJECTED


def test_pauses_between_attempts_are_spread():
    policy = RetryPolicy(5, initial_s=10.0)
    pauses_ms = {conclude({}, status=503, retry=policy).delay_ms for _ in range(50)}
    assert len(pauses_ms) > 40
    assert min(pauses_ms) < 5_000 < max(pauses_ms) <= 10_000


def test_pauses_before_a_call_that_could_not_be_prepared_is_prepared_again_are_spread():
    record = CallRecord(REFERENCE, State.QUEUED, "acme", "hook", 1, 1, b"", None, 20_000, "bulk")
    shape = Shape("hook", "POST", retry=RetryPolicy(5, initial_s=10.0))
    call = Unsendable(record, Outcome.CONNECT_FAILED, shape)
    pauses_ms = {unsendable(call, "token", 1).delay_ms for _ in range(50)}
    assert len(pauses_ms) > 40
    assert min(pauses_ms) < 5_000 < max(pauses_ms) <= 10_000


def test_an_answer_of_the_wrong_form_is_not_tried_again():
    settled = conclude({}, response_schema=SCHEMA, retry=RetryPolicy(5, statuses=(500,)), idempotent=True)
    assert settled.state is State.DELIVERED
