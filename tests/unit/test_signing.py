"""Signatures, verified with the packages that endpoints use."""

from __future__ import annotations

import json
import os
import subprocess
import time
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from relay.registration import Shape, Target
from relay.registration.endpoint import Endpoint
from relay.registration.signing import secret_bytes, signature_headers
from relay.request.trigger import Trigger
from tests.rendered import render
from tests.tools import require

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLwSw"
OLDER = "whsec_" + b64encode(bytes(range(32))).decode()
BODY = '{"name":"Ada","tags":["ä","/"]}'.encode()
TESTS = Path(__file__).parents[1]


def signed(*secrets, body=BODY, now_s=None, reference_id="0198c0de-0000-7000-8000-000000000001"):
    at = int(time.time()) if now_s is None else now_s
    return {"webhook-id": reference_id, **signature_headers(secrets, reference_id, at, body)}


def verify_in_node(*calls):
    node = require("node")
    task = [{"secret": secret, "headers": headers, "body": b64encode(body).decode()} for secret, headers, body in calls]
    done = subprocess.run(
        [node, str(TESTS / "e2e" / "javascript" / "verify.cjs")],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "NODE_PATH": str(TESTS / "vendor")},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("body", [BODY, b"", b"plain text", b"[]"])
def test_the_python_package_makes_the_same_signature(body):
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    headers = signed(SECRET, body=body, now_s=int(at.timestamp()))
    assert headers["webhook-signature"] == Webhook(SECRET).sign(headers["webhook-id"], at, body.decode())


def test_the_python_package_verifies_a_call_and_refuses_a_changed_one():
    headers = signed(SECRET)
    assert Webhook(SECRET).verify(BODY, headers) == json.loads(BODY)
    for changed in (
        {**headers, "webhook-id": "another"},
        {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)},
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(BODY, changed)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + b" ", headers)


def test_each_of_several_secrets_verifies_so_that_an_endpoint_can_go_over_to_a_new_one():
    headers = signed(SECRET, OLDER)
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (SECRET, OLDER):
        assert Webhook(secret).verify(BODY, headers)


def test_the_javascript_package_verifies_calls_and_refuses_changed_ones():
    headers = signed(SECRET, OLDER)
    verdicts = verify_in_node(
        (SECRET, headers, BODY),
        (OLDER, headers, BODY),
        (SECRET, headers, BODY + b" "),
        (SECRET, signed(OLDER), BODY),
        (SECRET, signed(SECRET, now_s=int(time.time()) - 3600), BODY),
    )
    assert verdicts[:2] == ["good", "good"]
    assert "good" not in verdicts[2:]


def test_a_request_is_signed_for_the_moment_and_as_it_is_sent():
    target = Target(Endpoint("https", "a.example.com", 443, "/in"), signing=(SECRET,))
    request = render(Shape("hook", "POST"), target, Trigger({"a": "ä"}), reference_id="ref-1")
    assert "webhook-signature" not in request.headers
    request.sign(1_700_000_000)
    first = dict(request.headers)
    assert first["webhook-timestamp"] == "1700000000"
    assert (
        first["webhook-signature"]
        == signature_headers([SECRET], "ref-1", 1_700_000_000, request.body)["webhook-signature"]
    )
    request.sign(1_700_000_060)
    assert request.headers["webhook-id"] == first["webhook-id"] == "ref-1"
    assert request.headers["webhook-signature"] != first["webhook-signature"]


def test_a_request_without_a_body_is_signed_over_the_empty_one():
    target = Target(Endpoint("https", "a.example.com", 443, "/in"), signing=(SECRET,))
    request = render(Shape("hook", "GET"), target, Trigger(), reference_id="ref-1")
    request.sign(1_700_000_000)
    assert (
        request.headers["webhook-signature"]
        == signature_headers([SECRET], "ref-1", 1_700_000_000, b"")["webhook-signature"]
    )


def test_a_request_of_a_webhook_that_is_not_signed_has_no_signature():
    target = Target(Endpoint("https", "a.example.com", 443, "/in"))
    request = render(Shape("hook", "POST"), target, Trigger({"a": 1}), reference_id="ref-1")
    request.sign(1_700_000_000)
    assert not {"webhook-signature", "webhook-timestamp"} & set(request.headers)


def test_a_secret_stands_for_its_bytes():
    assert secret_bytes(OLDER) == bytes(range(32))
