"""The token request, and how its answer is read."""

from __future__ import annotations

import json
from base64 import b64decode
from urllib.parse import parse_qs

import jwt
import pytest

from relay.answer.endpoint_answer import EndpointAnswer
from relay.domain.invocation import Outcome, Sent
from relay.registration.credentials import JWT_BEARER, PRIVATE_KEY_JWT, OAuth2Client
from relay.registration.endpoint import Endpoint
from relay.registration.retrying import REPEATABLE_STATUSES, STATUSES
from relay.request.assertions import LIFETIME_S, bearer_assertion, client_assertion
from relay.request.oauth import MAX_GRANT_VALUES, MAX_TOKEN_LENGTH, NoToken, TokenGrant, read_grant, token_request
from relay.request.rendering import USER_AGENT
from tests.signing_keys import key_pair

NOW_S = 1_800_000_000.5
URL = Endpoint("https", "login.example.com", 443, "/token", "tenant=a%20b")


def answered(body, status=200, outcome=Outcome.ANSWERED):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return EndpointAnswer(outcome, Sent.ANSWERED, status, "application/json", raw, 5, len(raw), None, 0)


def test_the_token_request_is_a_form_with_the_client_in_its_authorization():
    request = token_request(OAuth2Client(URL, "client id:1", "s€cret+/", "read write", "api"), NOW_S)
    assert (request.method, request.url) == ("POST", "https://login.example.com/token?tenant=a%20b")
    assert parse_qs(request.body.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["read write"],
        "audience": ["api"],
    }
    headers = dict(request.headers)
    # RFC 6749, 2.3.1: both are form-encoded before they are joined
    login = b64decode(headers.pop("Authorization").removeprefix("Basic ")).decode()
    assert login == "client+id%3A1:s%E2%82%ACcret%2B%2F"
    assert headers == {
        "Accept": "application/json",
        "User-Agent": USER_AGENT,
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": str(len(request.body)),
    }


SIGNING = {"scope": "read", "private_key": key_pair("P-256").pem, "algorithm": "ES256"}


@pytest.mark.parametrize(
    ("client", "fields"),
    [
        (OAuth2Client(URL, "c1", "s", client_auth="post"), {"grant_type", "client_id", "client_secret"}),
        (
            OAuth2Client(URL, "c1", client_auth=PRIVATE_KEY_JWT, **SIGNING),
            {"grant_type", "scope", "client_assertion_type", "client_assertion"},
        ),
        (
            OAuth2Client(URL, "c1", client_auth=PRIVATE_KEY_JWT, grant=JWT_BEARER, **SIGNING),
            {"grant_type", "scope", "assertion", "client_assertion_type", "client_assertion"},
        ),
    ],
    ids=["secret in the form", "assertion", "two assertions"],
)
def test_a_client_proves_in_the_form_who_it_is_in_the_way_that_is_registered(client, fields):
    request = token_request(client, NOW_S)
    form = {name: value for name, (value,) in parse_qs(request.body.decode()).items()}
    assert form.keys() == fields
    assert "Authorization" not in request.headers
    if "client_assertion" in fields:
        assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        assert claims_of(form["client_assertion"]) == {"iss": "c1", "sub": "c1", "aud": URL.url}
    if "assertion" in fields:
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        assert claims_of(form["assertion"]) == {"iss": "c1", "sub": "c1", "aud": URL.url, "scope": "read"}


def test_what_is_not_registered_is_not_asked_for():
    request = token_request(OAuth2Client(URL, "c", "s"), NOW_S)
    assert request.body == b"grant_type=client_credentials"


@pytest.mark.parametrize(
    ("expires_in", "usable_s"),
    [
        (3600, 3540),
        ("3600", 3540),
        (10, 5),
        (120, 60),
        (None, 240),
        (-1, 240),
        (0, 240),
        ("nan", 240),
        pytest.param(10**400, 240, id="larger than any float"),
        ("inf", 86_340),
        ("soon", 240),
        (1e9, 24 * 3600 - 60),
        (True, 0.5),
    ],
)
def test_a_token_is_given_up_before_it_expires(expires_in, usable_s):
    answer = answered({"access_token": "t0ken", "token_type": "Bearer", "expires_in": expires_in})
    assert read_grant(answer) == TokenGrant("t0ken", usable_s)


def test_a_token_has_so_many_characters_and_no_more():
    longest = "x" * MAX_TOKEN_LENGTH
    assert read_grant(answered({"access_token": longest})).token == longest
    with pytest.raises(NoToken):
        read_grant(answered({"access_token": longest + "x"}))


def test_a_grant_has_so_many_values_and_no_more():
    within = {"access_token": "t", "others": [0] * (MAX_GRANT_VALUES - 4)}
    assert read_grant(answered(within)).token == "t"
    with pytest.raises(NoToken):
        read_grant(answered({**within, "more": [0, 0, 0]}))


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"not json",
            b"[]",
            b"{}",
            {"access_token": ""},
            {"access_token": 5},
            {"access_token": "a b"},
            b"[" * 100_000,
        ),
        *({"access_token": "a\nb"}, {"access_token": "x" * 8193}, {"access_token": "t", "token_type": "mac"}),
        {"access_token": "t", "token_type": None},
    ],
)
def test_an_answer_without_a_usable_token_is_a_call_that_could_not_be_prepared(body):
    with pytest.raises(NoToken) as caught:
        read_grant(answered(body))
    assert caught.value.outcome is Outcome.PREPARE_FAILED


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (answered({"error": "invalid_client"}, 401), Outcome.PREPARE_FAILED),
        (answered(b"", 302), Outcome.PREPARE_FAILED),
        *((answered(b"", status), Outcome.CONNECT_FAILED) for status in sorted(STATUSES | REPEATABLE_STATUSES)),
        (answered(b"", 0, Outcome.DNS_FAILED), Outcome.DNS_FAILED),
        (answered(b"", 0, Outcome.ADDRESS_REFUSED), Outcome.ADDRESS_REFUSED),
        (answered(b"", 0, Outcome.ANSWER_TIMEOUT), Outcome.CONNECT_TIMEOUT),
        (answered(b"", 0, Outcome.CONNECTION_LOST), Outcome.CONNECT_FAILED),
        (answered(b"", 0, Outcome.ANSWER_REJECTED), Outcome.PREPARE_FAILED),
    ],
)
def test_a_token_that_is_not_had_says_of_the_call_that_it_has_not_left(answer, outcome):
    with pytest.raises(NoToken) as caught:
        read_grant(answer)
    assert caught.value.outcome is outcome


def claims_of(assertion):
    claims = jwt.decode(assertion, options={"verify_signature": False})
    assert (claims.pop("iat"), claims.pop("exp")) == (int(NOW_S), int(NOW_S) + LIFETIME_S)
    assert claims.pop("jti")
    return claims


@pytest.mark.parametrize("scope", [None, "read"])
@pytest.mark.parametrize("subject", [None, "person"])
@pytest.mark.parametrize("audience", [None, "api"])
@pytest.mark.parametrize(("issuer", "client_id"), [("service", None), (None, "c1"), ("service", "c1")])
def test_a_bearer_assertion_is_of_whom_the_registration_names(issuer, client_id, audience, subject, scope):
    client = OAuth2Client(
        URL,
        client_id,
        scope=scope,
        audience=audience,
        grant=JWT_BEARER,
        private_key=key_pair("P-256").pem,
        algorithm="ES256",
        issuer=issuer,
        subject=subject,
    )
    said = issuer or client_id
    assert claims_of(bearer_assertion(client, NOW_S)) == {
        "iss": said,
        "sub": subject or said,
        "aud": audience or URL.url,
        **({"scope": scope} if scope else {}),
    }


def test_a_client_s_assertion_is_of_itself_for_the_token_endpoint():
    client = OAuth2Client(URL, "c1", private_key=key_pair("P-256").pem, algorithm="ES256", audience="api", issuer="x")
    assert claims_of(client_assertion(client, NOW_S)) == {"iss": "c1", "sub": "c1", "aud": URL.url}
