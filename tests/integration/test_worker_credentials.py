"""Real workers call endpoints that require authentication."""

from __future__ import annotations

import json
import time
from base64 import b64encode

import pytest
from standardwebhooks import Webhook

from relay.domain.invocation import Outcome, State
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import answer, closed_port, echo, in_turn, json_answer, raw_answer, receiver

SECRET = "whsec_" + b64encode(bytes(range(32))).decode()
OK = json_answer({"ok": True})


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory, RELAY_LEASE_MARGIN="2") as harness:
        harness.start_worker()
        harness.start_worker(number=2)
        yield harness


def oauth(authorization_server, **changes):
    client = {"clientId": "client-0001", "clientSecret": "planted-client-secret"}
    return {"type": "oauth2", "tokenUrl": authorization_server.url, **client, **changes}


def grants(connection, request):
    """Grant a new token for every request."""
    value = {"access_token": f"planted-token-{request.connection}", "token_type": "Bearer", "expires_in": 3600}
    connection.send(
        raw_answer(200, json.dumps(value).encode(), ("Content-Type", "application/json"), ("Connection", "close"))
    )
    connection.close()


def test_calls_carry_one_token_that_was_fetched_once_and_is_hidden_in_answers(harness):
    with receiver(grants) as login, receiver(echo) as endpoint:
        harness.register(hook(endpoint.url, auth=oauth(login, scope="read")))
        refs = harness.trigger_many(50)
        records = harness.finals(refs)
    assert {record.state for record in records} == {State.DELIVERED}
    assert {request.header("authorization") for request in endpoint.requests} == {"Bearer planted-token-1"}
    assert len(login.requests) == 1
    assert login.requests[0].body == b"grant_type=client_credentials&scope=read"
    assert harness.data(refs[0])["headers"]["authorization"] == "Bearer [redacted]"


def test_a_token_that_was_revoked_is_replaced_and_the_call_made_again_at_once(harness):
    def takes_only_the_second(connection, request):
        good = request.header("authorization") == "Bearer planted-token-2"
        (OK if good or len(endpoint.requests) == 1 else answer(401))(connection, request)

    with receiver(grants) as login, receiver(takes_only_the_second) as endpoint:
        harness.register(hook(endpoint.url, auth=oauth(login)))
        harness.final(harness.trigger())  # the first token is valid only once
        time.sleep(5.1)  # until it is no longer fresh
        record = harness.final(harness.trigger(data={"a": 1}))
    assert (record.state, record.status) == (State.DELIVERED, 200)
    assert [attempt.status for attempt in record.attempts] == [401, 200]
    assert record.attempts[1].started_at_ms - record.attempts[0].started_at_ms < 3_000
    assert len(login.requests) == 2
    assert endpoint.requests[1].header("webhook-id") == endpoint.requests[2].header("webhook-id")


def test_a_call_that_is_refused_with_a_fresh_token_is_refused(harness):
    with receiver(grants) as login, receiver(answer(401, b"no")) as endpoint:
        harness.register(hook(endpoint.url, auth=oauth(login)))
        record = harness.final(harness.trigger())
    assert (record.state, record.status, len(record.attempts)) == (State.DELIVERED, 401, 1)


def test_a_token_that_is_not_had_leaves_the_call_unsent(harness):
    with receiver(answer(400, b'{"error":"invalid_client"}')) as login, receiver(OK) as endpoint:
        harness.register(hook(endpoint.url, auth=oauth(login)))
        record = harness.final(harness.trigger())
    assert (record.state, record.outcome) == (State.UNREACHABLE, Outcome.PREPARE_FAILED)
    assert not endpoint.requests


def test_a_token_endpoint_that_is_away_is_tried_again_as_the_webhook_s_retries_say(harness):
    with receiver(in_turn(answer(503), grants)) as login, receiver(OK) as endpoint:
        harness.register(hook(endpoint.url, auth=oauth(login), retry={"attempts": 4, "initial": 3}))
        record = harness.final(harness.trigger())
        assert len(endpoint.requests) == 1
    assert (record.state, record.status) == (State.DELIVERED, 200)
    assert {attempt.outcome for attempt in record.attempts[:-1]} == {Outcome.CONNECT_FAILED}


def test_a_token_endpoint_that_cannot_be_reached_is_the_call_s_own_outcome(harness):
    with receiver(OK) as endpoint:
        harness.register(hook(endpoint.url, auth={**oauth(endpoint), "tokenUrl": f"http://127.0.0.1:{closed_port()}/"}))
        record = harness.final(harness.trigger())
    assert (record.state, record.outcome) == (State.UNREACHABLE, Outcome.CONNECT_FAILED)
    assert not endpoint.requests


def test_a_basic_login_is_sent_and_hidden(harness):
    with receiver(echo) as endpoint:
        harness.register(hook(endpoint.url, auth={"type": "basic", "username": "ada", "password": "planted-pässword"}))
        ref = harness.trigger()
        harness.final(ref)
    expected = "Basic " + b64encode("ada:planted-pässword".encode()).decode()
    assert endpoint.requests[0].header("authorization") == expected
    assert harness.data(ref)["headers"]["authorization"] == "[redacted]"


def test_every_attempt_is_signed_anew_under_the_same_id(harness):
    with receiver(in_turn(answer(503), OK)) as endpoint:
        harness.register(hook(endpoint.url, signing=[SECRET], retry={"attempts": 2, "initial": 3}))
        ref = harness.trigger(data={"a": 1})
        harness.final(ref)
    assert len(endpoint.requests) == 2
    for request in endpoint.requests:
        headers = {name.lower(): value for name, value in request.headers}
        assert Webhook(SECRET).verify(request.body, headers) == {"a": 1}
        assert headers["webhook-id"] == ref


def test_an_answer_of_the_wrong_form_is_delivered_in_error_with_a_code(harness):
    with receiver(json_answer({"id": "seven"}, 201)) as endpoint:
        schema = {"type": "object", "properties": {"id": {"type": "integer"}}}
        harness.register(hook(endpoint.url, responseSchema=schema))
        record = harness.final(harness.trigger())
    assert (record.state, record.outcome) == (State.DELIVERED, Outcome.RESPONSE_REJECTED)
    assert (record.status, record.error) == (201, True)
    assert harness.store.result_of(record.reference_id) in {None, b""}
