"""``${env:NAME}`` and ``${file:PATH}`` in registrations: looked up when applied, and never left in what is stored."""

from __future__ import annotations

import pytest

from relay.egress import AddressPolicy
from relay.errors import DocumentError
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.settings import look_up_secret

RULES = EndpointRules(AddressPolicy(), frozenset())
DOCUMENT = '{id: "hook", url: "https://hooks.vendor.com/x", method: "POST", MEMBERS}'


def applied(members, look_up=look_up_secret):
    return read_registrations(DOCUMENT.replace("MEMBERS", members), RULES, plugin="shop", look_up=look_up)[1][0].target


def faults_of(members):
    with pytest.raises(DocumentError) as caught:
        applied(members)
    return [(fault.pointer, fault.message) for fault in caught.value.faults]


def test_a_header_is_filled_from_the_environment_and_from_a_file(monkeypatch, tmp_path):
    monkeypatch.setenv("VENDOR_TOKEN", "sk-live-123456")
    (tmp_path / "key").write_text("from-a-file\n")
    target = applied(
        'headers: {Authorization: "Bearer ${env:VENDOR_TOKEN}", "X-Key": "${file:' + f'{tmp_path}/key}}"}}'
    )
    assert target.headers == {"Authorization": "Bearer sk-live-123456", "X-Key": "from-a-file"}


def test_credentials_and_signing_secrets_are_filled_as_well(monkeypatch):
    monkeypatch.setenv("PASSWORD", "correct horse battery")
    monkeypatch.setenv("SIGNING", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    target = applied('auth: {type: "basic", username: "u", password: "${env:PASSWORD}"}, signing: "${env:SIGNING}"')
    assert target.credentials.authorization.password == "correct horse battery"
    assert target.signing == ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("${env:NO_SUCH_VARIABLE_HERE}", "NO_SUCH_VARIABLE_HERE, which is not set"),
        ("${file:/no/such/file}", "cannot be read"),
        ("${NAME}", "${env:NAME} or ${file:PATH}"),
        ("${vault:x}", "${env:NAME} or ${file:PATH}"),
        ("${env:}", "${env:NAME} or ${file:PATH}"),
        ("${env:OPEN", "${env:NAME} or ${file:PATH}"),
    ],
)
def test_a_reference_that_leads_nowhere_is_a_fault_at_its_place(value, says):
    ((pointer, message),) = faults_of('headers: {"X-Key": "' + value + '"}')
    assert pointer == "/headers/X-Key"
    assert says in message


def test_what_a_reference_stands_for_is_checked_like_a_value_that_was_written_out(monkeypatch):
    monkeypatch.setenv("BROKEN", "line\nbreak")
    ((pointer, message),) = faults_of('headers: {"X-Key": "${env:BROKEN}"}')
    assert pointer == "/headers/X-Key"
    assert "break" not in message.replace("line break", "")


def test_two_dollars_stand_for_one_that_is_no_reference():
    assert applied('headers: {"X-Key": "$${env:HOME}"}').headers == {"X-Key": "${env:HOME}"}


def test_only_secrets_may_stand_elsewhere(monkeypatch):
    monkeypatch.setenv("TEXT", "filled")
    ((registration,)) = read_registrations(
        DOCUMENT.replace("MEMBERS", 'description: "${env:TEXT}"'), RULES, plugin="shop", look_up=look_up_secret
    )[1]
    assert registration.shape.description == "${env:TEXT}"


def test_without_a_look_up_references_are_plain_text():
    assert applied('headers: {"X-Key": "${env:HOME}"}', look_up=None).headers == {"X-Key": "${env:HOME}"}
