"""Real workers get tokens from Authlib's server and from a strict one: by secrets, signed assertions, bearer grants."""

from __future__ import annotations

import json
import time

import pytest

from relay.domain.invocation import Outcome, State
from tests.authorization_server import ASSERTION_TYPE, BEARER_GRANT, CLIENT, SECRET, AuthlibServer, StrictServer
from tests.integration.worker_harness import hook, worker_harness
from tests.receivers import answer, echo, receiver
from tests.signing_keys import KINDS, key_pair

GRANTED = "Bearer planted-token-1"


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory) as harness:
        harness.start_worker()
        harness.start_worker(number=2)
        yield harness


def called(harness, script, auth, *, calls=3):
    """Let some calls be made with this ``auth``; return their records, and what login and endpoint have got."""
    with receiver(script) as login, receiver(echo) as endpoint:
        script.audience = login.url
        harness.register(hook(endpoint.url, auth={"type": "oauth2", "tokenUrl": login.url, **auth}))
        records = harness.finals(harness.trigger_many(calls))
        return records, login.requests, endpoint.requests


@pytest.mark.parametrize("form", ["pem", "jwk", "text"])
@pytest.mark.parametrize("algorithm", KINDS)
def test_authlib_s_server_takes_a_client_that_signs_its_assertion(harness, algorithm, form):
    pair = key_pair(KINDS[algorithm])
    key = {"pem": pair.pem, "jwk": pair.jwk, "text": json.dumps(pair.jwk)}[form]
    server = AuthlibServer(pair.public)
    auth = {"clientId": CLIENT, "clientAuth": "private_key_jwt", "privateKey": key, "keyId": "k1"}
    records, asked, sent = called(harness, server, auth | {"algorithm": algorithm, "scope": "system/*.rs"})
    assert {record.status for record in records} == {200}
    assert {request.header("authorization") for request in sent} == {GRANTED}
    assert len(asked) == len(server.used) == 1
    assert "planted" not in str(harness.data(records[0].reference_id))


@pytest.mark.parametrize("proof", [{}, {"clientAuth": "basic"}, {"clientAuth": "post"}])
def test_authlib_s_server_takes_a_client_that_sends_its_secret(harness, proof):
    auth = {"clientId": CLIENT, "clientSecret": SECRET, **proof}
    records, asked, _ = called(harness, AuthlibServer(key_pair("P-256").public), auth)
    assert {record.status for record in records} == {200}
    assert (asked[0].header("authorization") is None) == (proof.get("clientAuth") == "post")


def test_authlib_s_server_takes_a_bearer_assertion_for_a_person(harness):
    pair = key_pair("P-384")
    auth = {"grant": "jwt_bearer", "issuer": CLIENT, "subject": "practitioner-7", "privateKey": pair.pem}
    records, asked, sent = called(harness, AuthlibServer(pair.public), auth | {"algorithm": "ES384"})
    assert {record.status for record in records} == {200}
    assert {request.header("authorization") for request in sent} == {GRANTED}
    assert len(asked) == 1
    refused, _, sent = called(harness, AuthlibServer(pair.public), auth | {"subject": "somebody-else"}, calls=1)
    assert (refused[0].state, refused[0].outcome, sent) == (State.UNREACHABLE, Outcome.PREPARE_FAILED, [])


def test_a_key_that_the_server_does_not_know_gets_no_token(harness):
    auth = {"clientId": CLIENT, "clientAuth": "private_key_jwt", "privateKey": key_pair("P-384").pem, "keyId": "k1"}
    records, _, sent = called(harness, AuthlibServer(key_pair("P-256").public), auth, calls=1)
    assert (records[0].state, records[0].outcome, sent) == (State.UNREACHABLE, Outcome.PREPARE_FAILED, [])


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_a_strict_server_of_the_smart_guide_finds_nothing_to_refuse(harness, algorithm):
    pair = key_pair(KINDS[algorithm])
    form = {"grant_type": "client_credentials", "scope": "system/*.rs", "client_assertion_type": ASSERTION_TYPE}
    server = StrictServer(pair.public, algorithm=algorithm, key_id="k1", form=form, iss=CLIENT, sub=CLIENT)
    auth = {"clientId": CLIENT, "clientAuth": "private_key_jwt", "privateKey": pair.pem, "keyId": "k1"}
    records, _, _ = called(harness, server, auth | {"algorithm": algorithm, "scope": "system/*.rs"})
    assert server.refused == []
    assert {record.status for record in records} == {200}


def test_a_strict_server_of_service_accounts_finds_nothing_to_refuse(harness):
    pair = key_pair("RSA")
    form = {"grant_type": BEARER_GRANT, "scope": "a b", "resource": "https://fhir.example.com"}
    claims = {"iss": "service@example.com", "sub": "person@example.com", "scope": "a b"}
    server = StrictServer(pair.public, algorithm="RS256", key_id="k9", form=form, **claims)
    auth = {"grant": "jwt_bearer", "issuer": claims["iss"], "subject": claims["sub"], "scope": "a b"}
    more = {"privateKey": pair.pem, "keyId": "k9", "tokenParams": {"resource": "https://fhir.example.com"}}
    records, _, _ = called(harness, server, auth | more)
    assert server.refused == []
    assert {record.status for record in records} == {200}


def test_each_request_for_a_token_has_a_fresh_assertion(harness):
    pair = key_pair("P-256")

    def refuses_every_token(connection, request):
        answer(401)(connection, request)

    server = AuthlibServer(pair.public)
    auth = {"clientId": CLIENT, "clientAuth": "private_key_jwt", "privateKey": pair.pem, "keyId": "k1"}
    with receiver(server) as login, receiver(refuses_every_token) as endpoint:
        server.audience = login.url
        whole = {"type": "oauth2", "tokenUrl": login.url, **auth}
        for number in range(3):
            harness.register(hook(endpoint.url, auth=whole, description=str(number)))
            harness.final(harness.trigger())
    assert len(server.used) == len(login.requests) == 3


def test_a_token_that_the_endpoint_refuses_is_renewed_with_a_fresh_assertion_within_the_same_call(harness):
    pair = key_pair("P-256")
    refused = set()

    def refuses_some_tokens(connection, request):
        (answer(401) if request.header("authorization") in refused else echo)(connection, request)

    server = AuthlibServer(pair.public)
    auth = {"clientId": CLIENT, "clientAuth": "private_key_jwt", "privateKey": pair.pem, "keyId": "k1"}
    with receiver(server) as login, receiver(refuses_some_tokens) as endpoint:
        server.audience = login.url
        harness.register(hook(endpoint.url, auth={"type": "oauth2", "tokenUrl": login.url, **auth}))
        assert harness.final(harness.trigger()).status == 200
        refused.add(GRANTED)
        time.sleep(5.1)  # until the token is no longer fresh
        assert harness.final(harness.trigger()).status == 200
        sent = [request.header("authorization") for request in endpoint.requests]
    assert sent == [GRANTED, GRANTED, "Bearer planted-token-2"]
    assert len(server.used) == 2


def test_a_key_that_is_a_secret_of_the_plugin_is_replaced_while_calls_run(harness):
    old, new = key_pair("P-256"), key_pair("P-384")
    secrets = harness.runtime.registry.secrets
    secrets.set("acme", "SIGNING", json.dumps(old.jwk | {"kid": "old"}))
    auth = {"clientId": CLIENT, "clientAuth": "private_key_jwt", "privateKey": "${secret:SIGNING}"}
    first, second = AuthlibServer(old.public), AuthlibServer(new.public)
    server = first

    def current(connection, request):
        server(connection, request)

    with receiver(current) as login, receiver(echo) as endpoint:
        first.audience = second.audience = login.url
        harness.register(hook(endpoint.url, auth={"type": "oauth2", "tokenUrl": login.url, **auth}))
        assert harness.final(harness.trigger()).status == 200
        server = second
        secrets.set("acme", "SIGNING", json.dumps(new.jwk | {"kid": "new"}))
        harness.final(harness.trigger())
        time.sleep(2)
        assert harness.final(harness.trigger()).status == 200
    assert (first.granted, second.granted) == (1, 1)
