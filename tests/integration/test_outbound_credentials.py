"""Client certificates and signatures on real connections."""

from __future__ import annotations

import json
import ssl
from base64 import b64encode

import pytest
import trustme
from standardwebhooks import Webhook

from relay.domain.invocation import Outcome, Sent
from relay.outbound.gate import Gate
from relay.outbound.sender import Sender
from relay.process.clock import boot_time_s
from relay.registration import Shape, Target
from relay.registration.credentials import ClientCertificate, Credentials
from relay.registration.endpoint import Endpoint
from relay.request.trigger import Trigger
from tests.outbound import calling
from tests.receivers import json_answer, raw_answer, receiver
from tests.rendered import render

SECRET = "whsec_" + b64encode(bytes(range(32))).decode()


@pytest.fixture(scope="module")
def clients():
    return trustme.CA()


def certificate(authority, name):
    issued = authority.issue_cert(common_name=name)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return ClientCertificate(chain.decode(), issued.private_key_pem.bytes().decode())


def asks_who(connection, _request):
    """Answer with the name in the client's certificate."""
    peer = connection.sock.getpeercert() or {}
    names = [value for part in peer.get("subject", ()) for name, value in part if name == "commonName"]
    body = json.dumps({"who": names, "connection": connection.number}).encode()
    connection.send(raw_answer(200, body, ("Content-Type", "application/json")))


def server(authority, clients, mode=ssl.CERT_OPTIONAL, version=None):
    context = authority.context("127.0.0.1")
    clients.configure_trust(context)
    context.verify_mode = mode
    if version is not None:
        context.maximum_version = version
    return context


def call(caller, served, shown=None, **target):
    endpoint = Endpoint(served.scheme, served.host, served.port, "/hook")
    credentials = Credentials(certificate=shown)
    request = render(
        Shape("hook", "POST"),
        Target(endpoint, credentials=credentials, **target),
        Trigger({"a": 1}),
        reference_id="ref-1",
    )
    deadline_s = boot_time_s() + 5
    return Sender(caller.transport).send(request, gate=Gate(deadline_s), deadline_s=deadline_s, repeatable=True)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_each_call_shows_its_own_certificate_and_shares_no_connection_or_session_with_others(
    authority, clients, version
):
    ada, bob = certificate(clients, "ada"), certificate(clients, "bob")
    with (
        calling(ca_file=authority.ca_file) as caller,
        receiver(asks_who, tls=server(authority, clients, version=version)) as served,
    ):
        said = [json.loads(call(caller, served, who).body) for who in (ada, bob, None, ada, bob, None, ada, None, bob)]
    assert [each["who"] for each in said] == [["ada"], ["bob"], [], ["ada"], ["bob"], [], ["ada"], [], ["bob"]]
    assert len({each["connection"] for each in said}) == 3  # each keeps its own connection


def test_an_endpoint_that_wants_a_certificate_is_called_with_one(authority, clients):
    with (
        calling(ca_file=authority.ca_file) as caller,
        receiver(asks_who, tls=server(authority, clients, ssl.CERT_REQUIRED)) as served,
    ):
        assert call(caller, served, certificate(clients, "ada")).outcome is Outcome.ANSWERED
        assert call(caller, served).outcome in {Outcome.TLS_FAILED, Outcome.CONNECTION_LOST}


def test_a_certificate_of_an_authority_that_the_endpoint_does_not_know_is_no_answer(authority, clients):
    with (
        calling(ca_file=authority.ca_file) as caller,
        receiver(asks_who, tls=server(authority, clients, ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_2)) as served,
    ):
        answer = call(caller, served, certificate(trustme.CA(), "eve"))
    assert (answer.outcome, answer.sent) == (Outcome.TLS_FAILED, Sent.NO)
    assert not served.requests


def test_a_key_that_cannot_be_read_sends_nothing(authority, clients):
    broken = ClientCertificate(
        certificate(clients, "ada").certificate, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
    )
    with (
        calling(ca_file=authority.ca_file) as caller,
        receiver(asks_who, tls=server(authority, clients)) as served,
    ):
        answer = call(caller, served, broken)
    assert (answer.outcome, answer.sent) == (Outcome.PREPARE_FAILED, Sent.NO)
    assert not served.requests


def test_a_call_is_signed_as_it_leaves_and_verifies_where_it_arrives():
    with calling() as caller, receiver(json_answer({"ok": True})) as served:
        call(caller, served, signing=(SECRET,))
    (request,) = served.requests
    headers = {name.lower(): value for name, value in request.headers}
    assert Webhook(SECRET).verify(request.body, headers) == {"a": 1}
    assert headers["webhook-id"] == "ref-1"
