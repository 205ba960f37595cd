"""What is recorded about an attempt."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest
import requests

from relay.answer.endpoint_answer import EndpointAnswer
from relay.answer.masking import Mask
from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.errors import StoreFault, Unavailable
from relay.executor.chain_evaluation import Hidden
from relay.executor.conclusion import MAX_NEW_TOKENS, Conclusion, salvaged, unsendable
from relay.executor.preparation import Prepared, Unsendable
from relay.process import loops
from relay.registration import Shape, Target
from relay.registration.endpoint import Endpoint
from relay.registration.retrying import RetryPolicy
from relay.store.ledger.transitions import CallRecord
from relay.telemetry import log
from relay.vault import Vault, result_owner

VAULT = Vault.from_text(Vault.new_key_text())
REFERENCE = new_reference_id()
SECRET = "planted-secret-value"
TARGET = Target(Endpoint("https", "planted.example.com", 443, "/in"), {"X-Key": SECRET})
SCHEMA = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}


def prepared(tries=0, *, access=None, step=None, **shape):
    shape = Shape("hook", "POST", **shape)
    record = CallRecord(REFERENCE, State.QUEUED, "acme", "hook", 1, 1, b"", None, 20_000, "bulk", tries)
    record = record._replace(parent=None if step is None else new_reference_id(), step=step)
    return Prepared(record, requests.PreparedRequest(), shape, Mask.of(shape, TARGET), access)


def answered(body, status=200, content_type="application/json"):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return EndpointAnswer(Outcome.ANSWERED, Sent.ANSWERED, status, content_type, raw, 5, len(raw), None, 1_000)


def conclude(body, *, status=200, content_type="application/json", **shape):
    return Conclusion(VAULT, None, None).conclude(
        prepared(**shape), "token", answered(body, status, content_type), 1_000
    )


def data_of(settlement):
    return json.loads(VAULT.open(settlement.result, result_owner("acme", REFERENCE)))


def test_an_answer_that_fits_the_response_schema_is_the_result():
    settled = conclude({"id": 7}, response_schema=SCHEMA)
    assert (settled.outcome, settled.status, settled.error) == (Outcome.ANSWERED, 200, False)
    assert data_of(settled) == {"id": 7}


@pytest.mark.parametrize("status", [200, 201, 204, 302, 399, 400, 401, 404, 499, 500, 599])
def test_an_answer_with_a_status_of_400_or_more_is_delivered_in_error_with_its_data(status):
    settled = conclude({"id": 7}, status=status)
    assert (settled.state, settled.outcome, settled.status) == (State.DELIVERED, Outcome.ANSWERED, status)
    assert (settled.error, data_of(settled)) == (status >= 400, {"id": 7})


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


@pytest.mark.parametrize("shape", [None, Shape("hook", "POST"), Shape("hook", "POST", retry=RetryPolicy(1))])
@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.REQUEST_REJECTED, State.REJECTED),
        (Outcome.WEBHOOK_NOT_REGISTERED, State.REJECTED),
        (Outcome.PREPARE_FAILED, State.UNREACHABLE),
        (Outcome.ADDRESS_REFUSED, State.UNREACHABLE),
        (Outcome.CONNECT_FAILED, State.UNREACHABLE),
    ],
)
def test_a_call_that_could_not_be_prepared_has_no_attempt_that_counts_and_no_result_if_it_was_rejected(
    outcome, state, shape
):
    call = prepared(2).record
    settled = unsendable(Unsendable(call, outcome, shape), "token", 1_234)
    assert (settled.reference_id, settled.claim_token) == (call.reference_id, "token")
    assert (settled.state, settled.outcome, settled.delay_ms, settled.result) == (state, outcome, 0, b"")
    is_rejected = state is State.REJECTED
    assert (settled.status, settled.error) == ((None, None) if is_rejected else (0, True))
    assert settled.attempt == (None if is_rejected else Attempt(0, 1_234, 0, 0, outcome, Sent.NO))


@pytest.mark.parametrize("lost", [{"losses": 1}, {"state": State.SENDING}])
@pytest.mark.parametrize("outcome", [Outcome.CONNECT_FAILED, Outcome.REQUEST_REJECTED, Outcome.WEBHOOK_NOT_REGISTERED])
def test_a_call_that_was_lost_and_cannot_be_prepared_now_ends_interrupted_and_is_not_tried_again(lost, outcome):
    call = prepared(1, retry=RetryPolicy(5))
    settled = unsendable(Unsendable(call.record._replace(**lost), outcome, call.shape), "token", 1)
    assert (settled.state, settled.outcome) == (State.INTERRUPTED, Outcome.LEASE_LOST)
    assert (settled.attempt, settled.delay_ms) == (None, 0)


def test_an_answer_of_the_wrong_form_is_not_tried_again():
    settled = conclude({}, response_schema=SCHEMA, retry=RetryPolicy(5, statuses=(500,)), idempotent=True)
    assert settled.state is State.DELIVERED


@pytest.mark.parametrize(
    ("outcome", "contacted"),
    [
        *((Outcome.ANSWERED, True), (Outcome.ANSWER_REJECTED, True)),
        *((Outcome.DNS_FAILED, False), (Outcome.CONNECT_FAILED, False), (Outcome.CONNECT_TIMEOUT, False)),
        *((Outcome.TLS_FAILED, False), (Outcome.ANSWER_TIMEOUT, False), (Outcome.CONNECTION_LOST, False)),
        *((Outcome.ADDRESS_REFUSED, None), (Outcome.PREPARE_FAILED, None)),
    ],
)
def test_a_breaker_is_told_of_an_endpoint_that_was_tried_whether_it_could_be_contacted(outcome, contacted):
    answer = answered({})._replace(outcome=outcome)
    settled = Conclusion(VAULT, None, None).conclude(prepared(), "token", answer, 1_000)
    assert (settled.contacted, settled.status) == (contacted, 200 if outcome is Outcome.ANSWERED else 0)


@pytest.mark.parametrize("attempts", [None, 2, 3, 10])
@pytest.mark.parametrize("beyond", range(-1, MAX_NEW_TOKENS + 2))
def test_a_refused_token_gets_so_many_attempts_beyond_the_registered_ones(attempts, beyond):
    number, dropped = (attempts or 1) + beyond, []
    retry = {} if attempts is None else {"retry": RetryPolicy(attempts, statuses=(503,))}
    call = prepared(max(1, number) - 1, access=SimpleNamespace(fresh=False), **retry)
    conclusion = Conclusion(VAULT, None, SimpleNamespace(drop=dropped.append))
    settled = conclusion.conclude(call, "token", answered({}, 401), 1_000)
    again = beyond < MAX_NEW_TOKENS
    assert (settled.state, settled.delay_ms) == (State.RETRYING if again else State.DELIVERED, 0)
    assert (settled.result == b"", dropped) == (again, [call.access])


@pytest.mark.parametrize(
    ("outcome", "status", "access", "again"),
    [
        (Outcome.ANSWERED, 401, SimpleNamespace(fresh=False), True),
        (Outcome.ANSWERED, 401, SimpleNamespace(fresh=True), False),
        (Outcome.ANSWERED, 401, None, False),
        *((Outcome.ANSWERED, status, SimpleNamespace(fresh=False), False) for status in (200, 400, 403)),
        (Outcome.ANSWER_REJECTED, 401, SimpleNamespace(fresh=False), False),
    ],
)
@pytest.mark.parametrize("error", [None, Unavailable(), StoreFault()])
def test_a_call_is_tried_again_with_a_new_token_only_where_an_older_one_was_refused_though_the_store_is_away(
    outcome, status, access, again, error
):
    dropped = []

    def drop(refused):
        dropped.append(refused)
        if error is not None:
            raise error

    answer = answered({}, status)._replace(outcome=outcome)
    conclusion = Conclusion(VAULT, None, SimpleNamespace(drop=drop))
    settled = conclusion.conclude(prepared(access=access), "token", answer, 1_000)
    assert (settled.state is State.RETRYING, dropped) == (again, [access] * again)


@pytest.mark.parametrize("in_s", [12, 600])
@pytest.mark.parametrize("as_date", [False, True])
def test_the_next_attempt_is_made_when_the_endpoint_asks_for_it(as_date, in_s):
    began = datetime(2026, 3, 1, 12, tzinfo=UTC)
    asked = format_datetime(began + timedelta(seconds=in_s), usegmt=True) if as_date else str(in_s)
    answer = answered({}, 503)._replace(retry_after=asked, started_at_ms=int(began.timestamp() * 1000))
    call = prepared(retry=RetryPolicy(5, initial_s=1.0))
    assert Conclusion(VAULT, None, None).conclude(call, "token", answer, 1_000).delay_ms == in_s * 1000


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("of_chain", [False, True])
@pytest.mark.parametrize("is_over", [False, True])
def test_of_a_step_s_bytes_the_chain_gets_what_it_hides_itself_and_the_record_says_that_it_was_hidden(
    own, of_chain, is_over
):
    body = b"\xff\0" + SECRET.encode() * own + b"secret-of-the-chain" * of_chain
    hidden = None if is_over else Hidden(Mask(()), ("secret-of-the-chain",))
    evaluator = SimpleNamespace(hidden_beside=lambda *_: hidden, sealed_answer=lambda *_: b"sealed")
    answer = answered(body, content_type="image/jpeg")
    settled = Conclusion(VAULT, evaluator, None).conclude(prepared(step=1), "token", answer, 1_000)
    if own:
        assert (settled.outcome, settled.masked, settled.raw) == (Outcome.ANSWER_REJECTED, 1, b"")
        return
    assert (settled.outcome, settled.raw) == (Outcome.ANSWERED, b"" if is_over else b"sealed")
    hides = of_chain and not is_over
    assert settled.masked == hides
    assert (data_of(settled) is None) == (hides or is_over)


def test_an_answer_that_cannot_be_read_is_rejected_and_that_is_logged(events_of):
    said = events_of(log)
    settled = Conclusion(VAULT, None, None).conclude(
        prepared()._replace(mask=None), "token", answered({"id": 7}), 1_000
    )
    assert (settled.outcome, settled.attempt.sent, settled.result) == (Outcome.ANSWER_REJECTED, Sent.ANSWERED, b"")
    assert [fields["where"] for _, fields in said] == ["read_answer"]


def test_of_a_step_s_answer_only_its_chain_keeps_data_where_what_to_hide_is_not_known(monkeypatch, events_of):
    monkeypatch.setattr(loops, "RETRY_S", 0.0)
    said = events_of(log)
    evaluator = SimpleNamespace(hidden_beside=lambda *_: 1 / 0, sealed_answer=lambda *_: b"sealed")
    settled = Conclusion(VAULT, evaluator, None).conclude(prepared(step=1), "token", answered({"id": 7}), 1_000)
    assert (settled.outcome, data_of(settled), settled.raw) == (Outcome.ANSWERED, None, b"sealed")
    assert [fields["where"] for _, fields in said] == ["conclude", "hidden_beside"]


@pytest.mark.parametrize("tries", range(4))
@pytest.mark.parametrize("has_answer", [False, True])
def test_an_attempt_has_the_number_that_follows_those_before_it_also_after_a_fault(tries, has_answer):
    call, answer = prepared(tries), answered({})
    ends = [
        Conclusion(VAULT, None, None).conclude(call, "token", answer, 1_234),
        salvaged(call, "token", answer if has_answer else None, entered=True, at_ms=1_234),
    ]
    assert [(each.attempt.number, each.attempt.started_at_ms) for each in ends] == [(tries + 1, 1_234)] * 2
    assert [each.attempt.duration_ms for each in ends] == [5, 5 if has_answer else 0]
