"""References in registrations: looked up when applied; those to secrets of the store stay in what is stored."""

from __future__ import annotations

import json

import pytest

from relay.egress import AddressPolicy
from relay.errors import DocumentError
from relay.registration import target_from_json
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.registration.stored_secrets import filled, referred, spelled
from relay.settings import look_up_secret

RULES = EndpointRules(AddressPolicy(), frozenset())
DOCUMENT = '{id: "hook", url: "https://hooks.vendor.com/x", method: "POST", MEMBERS}'


def look_up(plugin, kind, name):
    return look_up_secret(kind, name)


def applied(members, look_up=look_up):
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
        ("${NAME}", "${env:NAME}, ${file:PATH} or ${secret:NAME}"),
        ("${vault:x}", "${env:NAME}, ${file:PATH} or ${secret:NAME}"),
        ("${env:}", "${env:NAME}, ${file:PATH} or ${secret:NAME}"),
        ("${env:OPEN", "${env:NAME}, ${file:PATH} or ${secret:NAME}"),
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
        DOCUMENT.replace("MEMBERS", 'description: "${env:TEXT}"'), RULES, plugin="shop", look_up=look_up
    )[1]
    assert registration.shape.description == "${env:TEXT}"


def test_the_address_of_a_token_endpoint_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("TOKEN_URL", "https://login.vendor.com/t")
    client = '{type: "oauth2", tokenUrl: "${env:TOKEN_URL}", clientId: "c", clientSecret: "${secret:TOKEN}"}'
    target = applied(
        f"auth: {client}", look_up=lambda *given: secrets_of(*given) if given[1] == "secret" else look_up(*given)
    )
    assert target.credentials.authorization.token_url.url == "https://login.vendor.com/t"
    assert referred(target) == ("TOKEN",)


@pytest.mark.parametrize("value", [5, 1.5, True, None, {"a": [7, None]}])
def test_what_is_no_text_refers_to_nothing(value):
    target = applied(f"fixedData: {json.dumps({'a': value, 'b': '${secret:word}'})}", look_up=secrets_of)
    assert filled(target, VALUES).fixed_data == {"a": value, "b": VALUES["word"]}


@pytest.mark.parametrize("webhook", ["5", "null", '"text"', "[]"])
def test_what_is_no_webhook_is_told_so_whether_or_not_references_are_looked_up(webhook):
    told = []
    for each in (None, secrets_of):
        with pytest.raises(DocumentError) as caught:
            read_registrations(f'{{plugin: "shop", webhooks: [{webhook}]}}', RULES, plugin="shop", look_up=each)
        told.append([str(fault) for fault in caught.value.faults])
    assert told[0] == told[1]
    assert "must be an object" in told[0][0]


def test_without_a_look_up_references_are_plain_text():
    assert applied('headers: {"X-Key": "${env:HOME}"}', look_up=None).headers == {"X-Key": "${env:HOME}"}


VALUES = {
    "TOKEN": "sk-live-123456",
    "word": "correct horse battery",
    "SIGN": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "escaped": "a b&c=d/%",
    "type": "oauth2",
    "tokenUrl": "https://a.vendor.com/t",
}


def secrets_of(plugin, kind, name):
    if (plugin, kind) != ("shop", "secret") or name not in VALUES:
        raise ValueError(f"names {name}, which is not set")
    return VALUES[name]


def with_query(query, look_up=secrets_of):
    text = DOCUMENT.replace("hooks.vendor.com/x", f"hooks.vendor.com/{query}").replace("MEMBERS", "")
    return read_registrations(text, RULES, plugin="shop", look_up=look_up)[1][0].target


def test_a_target_keeps_references_to_secrets_and_nothing_of_their_values():
    target = applied(
        'headers: {Authorization: "Bearer ${secret:TOKEN}", "X-Two": "${secret:TOKEN}.${secret:word}", "X-Own": "own"},'
        'signing: "${secret:SIGN}"',
        look_up=secrets_of,
    )
    raw = target.to_json().decode()
    assert not [value for value in VALUES.values() if value in raw]
    assert target_from_json(target.to_json()) == target
    assert referred(target) == ("SIGN", "TOKEN", "word")
    assert spelled(target).headers["X-Two"] == "${secret:TOKEN}.${secret:word}"
    made = filled(target, VALUES)
    assert made.headers == {
        "Authorization": "Bearer sk-live-123456",
        "X-Two": "sk-live-123456.correct horse battery",
        "X-Own": "own",
    }
    assert made.signing == (VALUES["SIGN"],)


def test_a_reference_stands_beside_two_dollars_that_are_none():
    target = applied('headers: {"X-Key": "$${a} ${secret:TOKEN} $${secret:word}"}', look_up=secrets_of)
    assert filled(target, VALUES).headers == {"X-Key": f"${{a}} {VALUES['TOKEN']} ${{secret:word}}"}
    assert referred(target) == ("TOKEN",)


def test_the_secrets_of_a_webhook_are_named_once_each_and_in_order():
    names = [f"S{number}" for number in range(20)]
    written = {f"X-{name}": f"${{secret:{name}}} ${{secret:S3}}" for name in reversed(names)}
    _, (registration,) = read_registrations(
        DOCUMENT.replace("MEMBERS", f"headers: {json.dumps(written)}"),
        RULES,
        plugin="shop",
        look_up=lambda *_: "good-one",
    )
    assert registration.shape.secrets == referred(registration.target) == tuple(sorted(names))


#: Lists of which any item may refer to a secret: what is written for the others, and how a target has the list.
LISTS = {
    "signing": ([f"whsec_{letter * 32}" for letter in "ABC"], "SIGN", lambda target: list(target.signing)),
    "fixedData": (["one", "two", "three"], "word", lambda target: target.fixed_data["of"]["all"]),
}


@pytest.mark.parametrize("member", LISTS)
@pytest.mark.parametrize("referring", [(0,), (1,), (2,), (0, 2)])
def test_each_item_of_a_list_keeps_its_place_whichever_of_them_refer_to_a_secret(member, referring):
    others, name, taken = LISTS[member]
    if member == "signing":  # which takes no secret twice
        referring = referring[-1:]
    written = [f"${{secret:{name}}}" if number in referring else text for number, text in enumerate(others)]
    value = written if member == "signing" else {"of": {"all": written}}
    target = applied(f"{member}: {json.dumps(value)}", look_up=secrets_of)
    assert taken(spelled(target)) == written
    expected = [VALUES[name] if number in referring else text for number, text in enumerate(others)]
    assert taken(filled(target, VALUES)) == expected
    assert VALUES[name] not in target.to_json().decode()


@pytest.mark.parametrize(
    ("auth", "members"),
    [
        ('{type: "basic", username: "u", password: "${secret:word}"}', {"password": VALUES["word"]}),
        (
            (
                '[{type: "oauth2", tokenUrl: "https://a.vendor.com/t", clientId: "x${secret:word}", '
                'clientSecret: "${secret:TOKEN}"}]'
            ),
            {"client_id": "x" + VALUES["word"], "client_secret": VALUES["TOKEN"]},
        ),
    ],
)
def test_credentials_may_refer_to_secrets(auth, members):
    target = applied(f"auth: {auth}", look_up=secrets_of)
    made = filled(target, VALUES).credentials.authorization
    assert {name: getattr(made, name) for name in members} == members
    assert not [value for value in members.values() if value in target.to_json().decode()]


def test_a_secret_in_the_url_s_query_is_escaped_and_stands_nowhere_else():
    target = with_query("x?v=3&key=${secret:escaped}")
    assert filled(target, VALUES).endpoint.query == "v=3&key=a%20b%26c%3Dd%2F%25"
    assert "b%26c" not in target.to_json().decode()
    with pytest.raises(DocumentError) as caught:
        with_query("${secret:TOKEN}/y?key=${secret:TOKEN}")
    assert [fault.pointer for fault in caught.value.faults] == ["/url"]
    assert "query only" in caught.value.faults[0].message
    with pytest.raises(DocumentError) as caught:
        with_query("x?key=${secret:NONE}")
    assert [(fault.pointer, fault.message) for fault in caught.value.faults] == [
        ("/url", "names NONE, which is not set")
    ]


@pytest.mark.parametrize("name", ["type", "tokenUrl"])
def test_a_member_that_is_not_secret_may_not_refer_to_a_secret(name):
    auth = {"type": '"oauth2"', "tokenUrl": '"https://a.vendor.com/t"', "clientId": '"c"', "clientSecret": '"secret"'}
    auth[name] = f'"${{secret:{name}}}"'
    with pytest.raises(DocumentError) as caught:
        applied(f"auth: {{{', '.join(f'{key}: {value}' for key, value in auth.items())}}}", look_up=secrets_of)
    assert [fault.pointer for fault in caught.value.faults] == [f"/auth/{name}"]


def test_all_faults_are_named_at_once_also_beside_a_reference_that_leads_nowhere():
    with pytest.raises(DocumentError) as caught:
        applied(
            'headers: {"X-Key": "${secret:NONE}", "X-Two": "${secret:NOR}"}, timeout: 0, '
            'auth: {type: "oauth2", tokenUrl: "https://a.vendor.com/t?${secret:TOKEN}", clientId: "a\\u0007b", '
            'clientSecret: "${secret:NEITHER}"}',
            look_up=secrets_of,
        )
    found = sorted(fault.pointer for fault in caught.value.faults)
    auth = ["/auth/clientId", "/auth/clientSecret", "/auth/tokenUrl"]
    assert found == [*auth, "/headers/X-Key", "/headers/X-Two", "/timeout"]


@pytest.mark.parametrize(
    ("member", "value", "pointer"),
    [
        ('headers: {"X-Key": "${secret:S}"}', "line\nbreak", "/headers/X-Key"),
        ('headers: {"X-Key": "${secret:S}"}', "x" * 2_049, "/headers/X-Key"),
        ('signing: "${secret:S}"', "whsec_short", "/signing/0"),
        ('auth: {type: "basic", username: "${secret:S}", password: "long enough"}', "a:b", "/auth/username"),
        ('auth: {type: "basic", username: "u", password: "${secret:S}"}', "a\x07b", "/auth/password"),
    ],
)
def test_a_value_that_does_not_fit_is_never_filled_in(member, value, pointer):
    good = VALUES["SIGN"] if "signing" in member else "good-enough"
    target = applied(member, look_up=lambda plugin, kind, name: good)
    with pytest.raises(DocumentError) as caught:
        filled(target, {"S": value})
    assert [fault.pointer for fault in caught.value.faults] == [pointer]
    assert value not in str(caught.value.faults)


@pytest.mark.parametrize("at", range(3))
def test_a_value_that_does_not_fit_is_refused_at_whichever_place_of_a_list_it_stands(at):
    written = [f"whsec_{letter * 32}" for letter in "ABC"]
    written[at] = "${secret:S}"
    target = applied(f"signing: {json.dumps(written)}", look_up=lambda *_: VALUES["SIGN"])
    with pytest.raises(DocumentError) as caught:
        filled(target, {"S": "whsec_short"})
    assert [fault.pointer for fault in caught.value.faults] == [f"/signing/{at}"]


def test_a_control_character_of_a_secret_does_not_reach_a_url():
    target = with_query("x?key=${secret:S}", lambda *_: "good")
    with pytest.raises(DocumentError) as caught:
        filled(target, {"S": "a\r\nb"})
    (fault,) = caught.value.faults
    assert (fault.pointer, fault.message) == ("/url", "escapes a control character, slash or backslash")


def test_a_nul_stands_in_no_text_that_may_hold_a_reference():
    with pytest.raises(DocumentError) as caught:
        applied('headers: {"X-Key": "a\\u0000S\\u0000"}, signing: "\\u0000S\\u0000"', look_up=secrets_of)
    assert {"/headers/X-Key", "/signing"} <= {fault.pointer for fault in caught.value.faults}
