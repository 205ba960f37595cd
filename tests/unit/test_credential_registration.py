"""Credentials and signing secrets as they are registered."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from itertools import combinations

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from relay.answer.masking import Mask
from relay.egress import AddressPolicy
from relay.errors import DocumentError
from relay.registration import target_from_json
from relay.registration.credentials import Basic, ClientCertificate, Credentials, OAuth2Client
from relay.registration.document import read_registrations
from relay.registration.endpoint import Endpoint, EndpointRules
from relay.registration.private_keys import read_signing_key
from relay.registration.stored_secrets import filled, spelled
from relay.request.trigger import Trigger
from relay.text.strict_json import dump_json
from tests.rendered import render
from tests.signing_keys import KINDS, key_pair

RULES = EndpointRules(AddressPolicy(["127.0.0.1"]))
HOOK = {"id": "hook", "url": "https://a.example.com/in", "method": "POST"}
BASIC = {"type": "basic", "username": "ada", "password": "planted-password"}
OAUTH = {
    "type": "oauth2",
    "tokenUrl": "https://login.example.com/token",
    "clientId": "client",
    "clientSecret": "planted-client-secret",
}


@pytest.fixture(scope="module")
def pems():
    issued = trustme.CA().create_child_ca().issue_cert(common_name="ada")
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems).decode()
    return chain, issued.private_key_pem.bytes().decode()


def whsec(count=32, start=0):
    return "whsec_" + b64encode(bytes(range(start, start + count))).decode()


def register(**changes):
    return read_registrations(json.dumps(HOOK | changes), RULES, plugin="lab")[1][0]


def faults(**changes):
    with pytest.raises(DocumentError) as caught:
        register(**changes)
    for fault in caught.value.faults:
        assert "planted" not in fault.message
        assert fault.message[0].islower()  # marshmallow's own words begin with a capital
    return [fault.pointer for fault in caught.value.faults]


def test_every_kind_of_credentials_is_part_of_the_target_and_comes_back(pems):
    certificate, key = pems
    mtls = {"type": "mtls", "certificate": certificate, "key": key}
    shown = ClientCertificate(certificate, key)
    token = OAuth2Client(
        Endpoint("https", "login.example.com", 443, "/token"), "client", "planted-client-secret", "a b"
    )
    for auth, expected in (
        (BASIC, Credentials(Basic("ada", "planted-password"))),
        ([BASIC], Credentials(Basic("ada", "planted-password"))),
        (OAUTH | {"scope": "a b"}, Credentials(token)),
        (mtls, Credentials(certificate=shown)),
        ([mtls, BASIC], Credentials(Basic("ada", "planted-password"), shown)),
        ([OAUTH | {"scope": "a b"}, mtls], Credentials(token, shown)),
    ):
        target = register(auth=auth).target
        assert target.credentials == expected
        assert target_from_json(target.to_json()) == target
        assert not [secret for secret in ("planted", key[60:90]) if secret in repr(target)]


@pytest.mark.parametrize(
    "secrets", [whsec(), whsec(24), whsec(64), [whsec()], [whsec(start=number) for number in range(5)]]
)
def test_one_or_several_signing_secrets_are_part_of_the_target_and_come_back(secrets):
    target = register(signing=secrets).target
    assert target.signing == ((secrets,) if isinstance(secrets, str) else tuple(secrets))
    assert target_from_json(target.to_json()) == target
    assert "whsec" not in repr(target)


@pytest.mark.parametrize(
    ("signing", "pointer"),
    [
        *((value, "/signing") for value in (None, 5, {}, [], "", "secret", "whsec_", whsec(23), whsec(65), whsec() + "=")),
        *((value, "/signing") for value in ([whsec()] * 6, "whsec_" + "ä" * 32, "Whsec_" + whsec()[6:])),
        ([whsec(), whsec(start=1), "no"], "/signing/2"),
        ([whsec(), whsec()], "/signing/1"),
        ([whsec(), 5], "/signing/1"),
    ],
)  # fmt: skip
def test_an_invalid_signing_secret_is_refused(signing, pointer):
    assert faults(signing=signing) == [pointer]


@pytest.mark.parametrize(
    ("auth", "pointer"),
    [
        (None, "/auth"),
        ("basic", "/auth"),
        ([], "/auth"),
        ({}, "/auth"),
        ({"type": "digest"}, "/auth"),
        ({"type": ["basic"]}, "/auth"),
        ([BASIC, OAUTH], "/auth"),
        ([BASIC, BASIC], "/auth"),
        ([BASIC, OAUTH, BASIC], "/auth"),
        ({"type": "basic", "username": "ada"}, "/auth/password"),
        (BASIC | {"username": "a:b"}, "/auth/username"),
        (BASIC | {"username": ""}, "/auth/username"),
        (BASIC | {"password": "planted\n"}, "/auth/password"),
        (BASIC | {"password": 5}, "/auth/password"),
        (BASIC | {"realm": "x"}, "/auth/realm"),
        (OAUTH | {"tokenUrl": "http://login.example.com/token"}, "/auth/tokenUrl"),
        (OAUTH | {"tokenUrl": "https://10.0.0.1/token"}, "/auth/tokenUrl"),
        (OAUTH | {"tokenUrl": "https://planted:secret@login.example.com/"}, "/auth/tokenUrl"),
        (OAUTH | {"scope": "ä"}, "/auth/scope"),
        (OAUTH | {"clientSecret": ""}, "/auth/clientSecret"),
        ([OAUTH | {"clientId": None}], "/auth/0/clientId"),
        ([OAUTH | {"tokenUrl": "ftp://x"}], "/auth/0/tokenUrl"),
        ({"type": "mtls", "certificate": "x"}, "/auth/key"),
    ],
)
def test_invalid_credentials_are_refused_with_their_place(auth, pointer):
    assert faults(auth=auth) == [pointer]


def test_a_token_endpoint_of_two_kinds_is_named_with_its_place(pems):
    mtls = {"type": "mtls", "certificate": pems[0], "key": pems[1]}
    assert faults(auth=[mtls, OAUTH | {"tokenUrl": "ftp://x"}]) == ["/auth/1/tokenUrl"]


def test_two_certificates_cannot_be_combined(pems):
    mtls = {"type": "mtls", "certificate": pems[0], "key": pems[1]}
    assert faults(auth=[mtls, mtls]) == ["/auth"]


def on_an_unknown_curve(pem):
    """Return the key or certificate of a P-256 key as one with a curve that the library does not know."""
    opening, text, ending = re.fullmatch(r"(-+[A-Z ]+-+\n)(.*?)(\n-+[A-Z ]+-+\n)", pem, re.DOTALL).groups()
    p256, unknown = (bytes.fromhex(f"06082a8648ce3d0301{number}") for number in ("07", "05"))
    assert p256 in b64decode(text)
    return opening + b64encode(b64decode(text).replace(p256, unknown)).decode() + ending


def test_certificate_and_key_must_be_readable_and_belong_together(pems):
    certificate, key = pems
    certificates = [
        f"{each}-----END CERTIFICATE-----\n" for each in certificate.split("-----END CERTIFICATE-----\n")[:-1]
    ]
    other = trustme.CA().issue_cert(common_name="bob")
    of_p256 = trustme.CA().issue_cert(common_name="eve", key_type=trustme.KeyType.ECDSA)
    unknown = on_an_unknown_curve(of_p256.cert_chain_pems[0].bytes().decode())
    loaded = serialization.load_pem_private_key(key.encode(), None)
    locked = loaded.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"pw")
    ).decode()
    for wrong, pointer in (
        ((certificate, other.private_key_pem.bytes().decode()), "/auth/key"),
        (("".join(certificates[::-1]), key), "/auth/key"),
        ((certificate, locked), "/auth/key"),
        ((certificate, "planted"), "/auth/key"),
        (("planted", key), "/auth/certificate"),
        ((key, key), "/auth/certificate"),
        ((certificate, key + "x" * 32 * 1024), "/auth/key"),
        ((certificate + "ä", key), "/auth/certificate"),
        ((unknown, key), "/auth/certificate"),
        ((certificate, on_an_unknown_curve(of_p256.private_key_pem.bytes().decode())), "/auth/key"),
    ):
        assert faults(auth={"type": "mtls", "certificate": wrong[0], "key": wrong[1]}) == [pointer]


def test_a_certificate_needs_https(pems):
    mtls = {"type": "mtls", "certificate": pems[0], "key": pems[1]}
    for auth in (mtls, [mtls], [mtls, BASIC], [BASIC, mtls]):
        assert faults(url="http://127.0.0.1/in", auth=auth) == ["/auth"]
    assert register(url="http://127.0.0.1/in", auth=BASIC)


@pytest.mark.parametrize("value", ["Bearer planted-token", None])
@pytest.mark.parametrize("auth", [BASIC, OAUTH])
def test_credentials_that_make_an_authorization_header_go_with_no_other(auth, value, pems):
    mtls = {"type": "mtls", "certificate": pems[0], "key": pems[1]}
    for given in (auth, [auth, mtls], [mtls, auth]):
        assert faults(headers={"authorization": value}, auth=given, hidden=True) == ["/auth"]


@pytest.mark.parametrize(("first", "second"), list(combinations(range(5), 2)))
def test_no_two_signing_secrets_are_the_same_wherever_they_stand(first, second):
    secrets = [whsec(start=number) for number in range(5)]
    secrets[second] = secrets[first]
    assert faults(signing=secrets) == [f"/signing/{second}"]


def test_what_is_no_signing_secret_is_told_so_wherever_it_stands_again():
    with pytest.raises(DocumentError) as caught:
        register(signing=["no", "no"])
    told = [(fault.pointer, fault.message) for fault in caught.value.faults]
    assert told == [(f"/signing/{number}", "must begin with `whsec_`") for number in (0, 1)]


def test_a_certificate_goes_with_an_authorization_header(pems):
    mtls = {"type": "mtls", "certificate": pems[0], "key": pems[1]}
    assert register(headers={"Authorization": "Bearer planted-token"}, auth=mtls).warnings == ()


@pytest.mark.parametrize("auth", [BASIC | {"password": "short"}, OAUTH | {"clientSecret": "short"}])
def test_a_secret_that_is_too_short_to_be_masked_is_a_warning(auth):
    (warning,) = register(auth=auth).warnings
    assert "cannot be masked" in warning


def test_a_basic_login_is_in_the_request_as_rfc_7617_has_it(pems):
    registration = register(auth=BASIC | {"username": "ada", "password": "pä:ss-word"})
    request = render(registration.shape, registration.target, Trigger(), reference_id="r")
    assert request.headers["Authorization"] == "Basic " + b64encode("ada:pä:ss-word".encode()).decode()


def test_a_request_carries_the_certificate_to_the_transport_and_nothing_of_it_in_its_headers(pems):
    registration = register(auth={"type": "mtls", "certificate": pems[0], "key": pems[1]})
    request = render(registration.shape, registration.target, Trigger(), reference_id="r")
    assert request.certificate == ClientCertificate(*pems)
    assert "BEGIN" not in str(request.headers)


@pytest.mark.parametrize("schema", [5, {"$ref": "https://a.example.com/schema"}, {"type": "nonsense"}])
def test_a_response_schema_is_checked_like_a_data_schema(schema):
    assert faults(responseSchema=schema) == ["/responseSchema"]
    assert register(responseSchema={"type": "object"}).shape.response_schema == {"type": "object"}


SIGNED = {
    "type": "oauth2",
    "tokenUrl": "https://login.example.com/token",
    "clientId": "client",
    "clientAuth": "private_key_jwt",
    "keyId": "k1",
}
WITHOUT_ID = {name: value for name, value in SIGNED.items() if name != "keyId"}
BEARER = {"type": "oauth2", "tokenUrl": "https://login.example.com/token", "grant": "jwt_bearer", "issuer": "me"}


def signing_key(client):
    return read_signing_key(client.private_key, client.algorithm, client.key_id)


@pytest.mark.parametrize("algorithm", [*KINDS, None])
@pytest.mark.parametrize("form", ["pem", "jwk", "text", "indented"])
def test_a_client_with_a_private_key_is_part_of_the_target_and_comes_back(algorithm, form):
    pair = key_pair(KINDS[algorithm or "RS256"])
    text = json.dumps(pair.jwk)
    key = {"pem": pair.pem, "jwk": pair.jwk, "text": text, "indented": f"\n  {text}\n"}[form]
    further = {} if algorithm is None else {"algorithm": algorithm}
    for base in (SIGNED, BEARER):
        target = register(auth=base | further | {"privateKey": key, "tokenParams": {"resource": "urn:x"}}).target
        assert target_from_json(target.to_json()) == target
        assert pair.pem[60:90] not in repr(target)
        assert pair.jwk["d"] not in repr(target)
        made = signing_key(target.credentials.authorization)
        assert (made.algorithm, made.key_id) == (algorithm or "RS256", base.get("keyId"))


@pytest.mark.parametrize(("kind", "chosen"), [("RSA", "RS256"), ("P-256", "ES256"), ("P-384", "ES384")])
def test_without_an_algorithm_a_key_signs_with_the_usual_one_or_what_its_jwk_says(kind, chosen):
    pair = key_pair(kind)
    said = {"RSA": "RS384"}.get(kind, chosen)
    for key, algorithm, key_id in ((pair.pem, chosen, "k1"), (pair.jwk | {"alg": said, "kid": "own"}, said, "k1")):
        made = signing_key(register(auth=SIGNED | {"privateKey": key}).target.credentials.authorization)
        assert (made.algorithm, made.key_id) == (algorithm, key_id)
    by_jwk = register(auth=WITHOUT_ID | {"privateKey": pair.jwk | {"kid": "own"}}).target.credentials.authorization
    assert signing_key(by_jwk).key_id == "own"


def test_what_a_jwk_says_of_itself_counts_only_as_text():
    jwk = key_pair("RSA").jwk | {"alg": 5, "kid": 6}
    made = signing_key(register(auth=BEARER | {"privateKey": jwk}).target.credentials.authorization)
    assert (made.algorithm, made.key_id) == ("RS256", None)


def test_how_a_client_asks_for_tokens_is_named_as_it_was_written():
    written = {"grant": "jwt_bearer", "clientAuth": "private_key_jwt", "keyId": "k1", "algorithm": "ES256"}
    written |= {"issuer": "me", "subject": "ada"}
    further = {"clientId": "client", "privateKey": key_pair("P-256").pem, "tokenParams": {"b": "2", "a": "1"}}
    client = register(auth=BEARER | written | further).target.credentials.authorization
    assert client.ways() == written | {"tokenParams": ["a", "b"]}
    assert set(register(auth=OAUTH).target.credentials.authorization.ways().values()) == {None}


OF_RSA = [name for name, kind in KINDS.items() if kind == "RSA"]
AGREEING = [
    *(
        (written, said, None, "own")
        for written in (None, *OF_RSA[:2], "ES256")
        for said in (None, *OF_RSA[:2], "ES256")
    ),
    *((None, None, *ids) for ids in (("k1", None), ("k1", "own"))),
]


@pytest.mark.parametrize(("written", "said", "key_id", "kid"), AGREEING)
def test_what_a_document_and_a_jwk_say_of_a_key_must_agree_and_the_document_names_it(written, said, key_id, kid):
    own = {name: value for name, value in {"alg": said, "kid": kid}.items() if value is not None}
    given = {"algorithm": written, "keyId": key_id, "privateKey": key_pair("RSA").jwk | own}
    auth = {name: value for name, value in (SIGNED | given).items() if value is not None}
    if {written, said} <= {None, *OF_RSA} and (None in {written, said} or written == said):
        made = signing_key(register(auth=auth).target.credentials.authorization)
        assert (made.algorithm, made.key_id) == (written or said or "RS256", key_id or kid)
    else:
        assert faults(auth=auth) == ["/auth/algorithm"]


def jwk_without(kind, *names):
    return {name: value for name, value in key_pair(kind).jwk.items() if name not in names}


def locked(pem):
    return (
        serialization.load_pem_private_key(pem.encode(), None)
        .private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"pw")
        )
        .decode()
    )


BAD_KEYS = {
    "no key": lambda: "planted",
    "empty": lambda: "",
    "half a PEM": lambda: key_pair("RSA").pem[:200],
    "an encrypted PEM": lambda: locked(key_pair("P-256").pem),
    "a public PEM": lambda: key_pair("RSA").public.as_pem(private=False).decode(),
    "a short RSA key": lambda: key_pair("RSA-1024").pem,
    "another curve": lambda: key_pair("P-521").pem,
    "an unknown curve": lambda: on_an_unknown_curve(key_pair("P-256").pem),
    "another curve's JWK": lambda: key_pair("P-521").jwk,
    "a public JWK": lambda: jwk_without("P-256", "d"),
    "a JWK without its kind": lambda: jwk_without("P-256", "kty"),
    "a JWK without a coordinate": lambda: jwk_without("P-256", "x"),
    "a JWK of another kind": lambda: {"kty": "oct", "k": "planted-planted-planted-planted"},
    "a JWK of numbers": lambda: {"kty": "EC", "crv": 5, "d": 6, "x": 7, "y": 8},
    "a damaged JWK": lambda: key_pair("RSA").jwk | {"n": "planted!"},
    "damaged JSON": lambda: json.dumps(key_pair("RSA").jwk)[:-2],
    "JSON that nests too deep": lambda: '{"planted": ' + "[" * 32_000,
    "a list": lambda: ["planted"],
    "a number": lambda: 5,
    "a long text": lambda: key_pair("RSA").pem + "x" * 32 * 1024,
    "letters": lambda: "ä",
}


@pytest.mark.parametrize("key", BAD_KEYS)
@pytest.mark.parametrize("base", [SIGNED, BEARER], ids=["client", "grant"])
def test_a_key_that_cannot_sign_is_refused_and_never_quoted(key, base):
    made = BAD_KEYS[key]()
    with pytest.raises(DocumentError) as caught:
        register(auth=base | {"privateKey": made})
    assert [fault.pointer for fault in caught.value.faults] == ["/auth/privateKey"]
    said = caught.value.faults[0].message
    assert "planted" not in said
    assert ("is a public key" in said) == (key == "a public JWK")
    assert not [text for text in (str(made)[40:80], "MII") if text and text in said]


@pytest.mark.parametrize("algorithm", KINDS)
@pytest.mark.parametrize("kind", ["RSA", "P-256", "P-384"])
def test_an_algorithm_fits_its_key_or_is_refused(algorithm, kind):
    auth = SIGNED | {"privateKey": key_pair(kind).pem, "algorithm": algorithm}
    if KINDS[algorithm] == kind:
        assert register(auth=auth).warnings == ()
    else:
        assert faults(auth=auth) == ["/auth/algorithm"]


PEM = key_pair("P-256").pem
SECRET = {"clientSecret": "planted-client-secret"}


@pytest.mark.parametrize("beyond", [0, 1])
@pytest.mark.parametrize("form", ["pem", "jwk"])
def test_a_private_key_has_so_many_bytes_and_no_more(form, beyond):
    most, jwk = 32 * 1024 + beyond, key_pair("P-256").jwk | {"note": ""}
    key = PEM.ljust(most, "\n") if form == "pem" else jwk | {"note": "x" * (most - len(dump_json(jwk)))}
    if beyond:
        assert faults(auth=SIGNED | {"privateKey": key}) == ["/auth/privateKey"]
    else:
        assert register(auth=SIGNED | {"privateKey": key})


@pytest.mark.parametrize(
    ("auth", "pointers"),
    [
        ({"type": "oauth2"}, ["clientId", "clientSecret", "tokenUrl"]),
        ({"type": "oauth2", "clientAuth": "post"}, ["clientId", "clientSecret", "tokenUrl"]),
        ({"type": "oauth2", "clientAuth": "private_key_jwt"}, ["clientId", "keyId", "privateKey", "tokenUrl"]),
        ({"type": "oauth2", "grant": "jwt_bearer"}, ["issuer", "privateKey", "tokenUrl"]),
        (SIGNED | {"privateKey": PEM, "keyId": ""}, ["keyId"]),
        (WITHOUT_ID | {"privateKey": PEM}, ["keyId"]),
        (WITHOUT_ID | {"privateKey": '{"kty": "EC"'}, ["keyId", "privateKey"]),
        (WITHOUT_ID | {"privateKey": key_pair("P-256").jwk | {"kid": 5}}, ["keyId"]),
        (WITHOUT_ID | {"privateKey": jwk_without("P-256", "d") | {"kid": "own"}}, ["privateKey"]),
        (SIGNED | SECRET | {"privateKey": PEM}, ["clientSecret"]),
        (SIGNED | {"privateKey": PEM, "subject": "s", "issuer": "i"}, ["issuer", "subject"]),
        (OAUTH | {"privateKey": PEM, "keyId": "k", "algorithm": "ES256"}, ["algorithm", "keyId", "privateKey"]),
        (OAUTH | {"clientAuth": "mtls", "grant": "password"}, ["clientAuth", "grant"]),
        (SIGNED | {"privateKey": PEM, "algorithm": "HS256"}, ["algorithm"]),
        (SIGNED | {"privateKey": PEM, "algorithm": "none"}, ["algorithm"]),
        (BEARER | {"privateKey": PEM, "clientAuth": "basic"}, ["clientId", "clientSecret"]),
        (BEARER | {"privateKey": PEM, "clientAuth": "private_key_jwt"}, ["clientId", "keyId"]),
        (OAUTH | {"tokenUrl": "http://x", "scope": "ä", "keyId": "k", "no": 1}, ["keyId", "no", "scope", "tokenUrl"]),
        (OAUTH | {"tokenParams": []}, ["tokenParams"]),
        (OAUTH | {"tokenParams": {f"p{number}": "x" for number in range(17)}}, ["tokenParams"]),
        (OAUTH | {"tokenParams": {"client_id": "x"}}, ["tokenParams"]),
        (OAUTH | {"clientAuth": "post", "tokenParams": {"client_id": "x"}}, ["tokenParams"]),
        (OAUTH | {"audience": "a", "tokenParams": {"audience": "b"}}, ["tokenParams"]),
        (
            OAUTH
            | {"tokenParams": {"grant_type": 5, "scope": "y", "a b": "z", "number": 5, "line": "a\nb", "no": None}},
            [f"tokenParams/{name}" for name in ("a b", "grant_type", "line", "no", "number", "scope")],
        ),
    ],
)
def test_all_that_is_wrong_with_a_client_is_said_at_once(auth, pointers):
    assert sorted(faults(auth=auth)) == [f"/auth/{pointer}" for pointer in pointers]


def test_what_is_wrong_with_a_parameter_of_the_token_request_is_said_of_its_name_first():
    own = ("grant_type", "scope", "client_secret", "client_assertion", "client_assertion_type", "assertion")
    given = {**dict.fromkeys(own, 5), "a b": 5, "a" * 65: "x", "fits": 5, "a" * 64: "x"}
    with pytest.raises(DocumentError) as caught:
        register(auth=OAUTH | {"tokenParams": given})
    named = "must be named by 1 to 64 letters, digits and `._~-`"
    assert {fault.pointer.rpartition("/")[2]: fault.message for fault in caught.value.faults} == {
        **dict.fromkeys(own, "is a parameter that the relay sends itself"),
        **dict.fromkeys(("a b", "a" * 65), named),
        "fits": "must be a string (in quotes)",
    }


def test_the_audience_of_an_assertion_and_that_of_the_token_request_may_differ():
    made = register(auth=BEARER | {"privateKey": PEM, "audience": "a", "tokenParams": {"audience": "b"}})
    client = made.target.credentials.authorization
    assert (client.audience, client.token_params) == ("a", {"audience": "b"})


def test_how_a_client_asks_for_tokens_is_told_without_any_value_of_its_parameters():
    names = [f"p{number:02}" for number in range(16)]  # as many as there may be
    params = dict.fromkeys(reversed(names), "planted")
    ways = register(auth=OAUTH | {"tokenParams": params}).target.credentials.authorization.ways()
    assert {name: value for name, value in ways.items() if value is not None} == {"tokenParams": names}


def test_a_target_of_a_client_with_a_secret_is_stored_as_before():
    stored = json.loads(register(auth=OAUTH | {"scope": "a"}).target.to_json())["credentials"]["authorization"]
    assert list(stored) == ["tokenUrl", "clientId", "clientSecret", "scope", "audience"]


def test_a_parameter_of_the_token_request_that_looks_like_a_token_is_masked():
    registration = register(auth=OAUTH | {"tokenParams": {"api_key": "a1b2c3d4e5f6a7b8", "resource": "appointments"}})
    masked, _ = Mask.of(registration.shape, registration.target).text("a1b2c3d4e5f6a7b8 appointments client-secret")
    assert masked == "[redacted] appointments client-secret"


def test_the_address_of_the_token_endpoint_is_masked_also_where_that_of_the_webhook_is_not():
    registration = register(auth=OAUTH | {"tokenUrl": "https://login.vendor-internal.com/oauth2/token"}, revealUrl=True)
    mask = Mask.of(registration.shape, registration.target)
    assert mask.text('realm="https://login.vendor-internal.com/oauth2/token"')[0] == 'realm="[redacted]"'
    assert mask.text("see login.vendor-internal.com")[0] == "see [redacted]"


@pytest.mark.parametrize("referring", [("certificate",), ("key",), ("certificate", "key")])
@pytest.mark.parametrize("others", [[], [BASIC]])
def test_a_certificate_and_its_key_may_refer_to_secrets(pems, referring, others):
    values = dict(zip(("certificate", "key"), pems, strict=True))
    written = values | {name: f"${{secret:{name}}}" for name in referring}
    document = json.dumps(HOOK | {"auth": [*others, {"type": "mtls", **written}]})
    _, (made,) = read_registrations(document, RULES, plugin="lab", look_up=lambda _plugin, _kind, name: values[name])
    assert made.shape.secrets == referring
    assert spelled(made.target).credentials.certificate == ClientCertificate(**written)
    assert filled(made.target, values).credentials.certificate == ClientCertificate(**values)
    assert not [name for name in referring if values[name][40:80] in made.target.to_json().decode()]


def test_a_secret_that_does_not_fit_is_named_by_its_place_among_the_credentials(pems):
    other = trustme.CA().issue_cert(common_name="bob").private_key_pem.bytes().decode()
    good, bad = {"PASSWORD": "good-enough", "KEY": pems[1]}, {"PASSWORD": "planted\nline", "KEY": other}
    basic = BASIC | {"password": "${secret:PASSWORD}"}
    mtls = {"type": "mtls", "certificate": pems[0], "key": "${secret:KEY}"}
    for auth, pointers in (
        (basic, ["/auth/password"]),
        (mtls, ["/auth/key"]),
        ([basic, mtls], ["/auth/0/password", "/auth/1/key"]),
    ):
        document = json.dumps(HOOK | {"auth": auth})
        _, (made,) = read_registrations(document, RULES, plugin="lab", look_up=lambda _plugin, _kind, name: good[name])
        with pytest.raises(DocumentError) as caught:
            filled(made.target, bad)
        assert [fault.pointer for fault in caught.value.faults] == pointers
        assert "planted" not in str(caught.value.faults)


@pytest.mark.parametrize("member", ["certificate", "key", "privateKey"])
def test_a_nul_before_a_pem_makes_no_reference_of_it(pems, member):
    auth = {"type": "mtls", "certificate": pems[0], "key": pems[1]}
    auth = SIGNED | {"privateKey": PEM} if member == "privateKey" else auth
    auth |= {member: f"\0planted\0\n{auth[member]}"}
    with pytest.raises(DocumentError) as caught:
        read_registrations(json.dumps(HOOK | {"auth": auth}), RULES, plugin="lab", look_up=lambda *_: "value")
    told = [(fault.pointer, fault.message) for fault in caught.value.faults]
    assert told == [(f"/auth/{member}", "must have no control characters")]


def test_a_member_of_a_key_that_refers_to_a_secret_is_told_to_keep_the_whole_key_there():
    auth = OAUTH | {"clientAuth": "private_key_jwt", "privateKey": {"kty": "EC", "d": "${secret:KEY}"}}
    with pytest.raises(DocumentError) as caught:
        read_registrations(json.dumps(HOOK | {"auth": auth}), RULES, plugin="lab", look_up=lambda *_: "value")
    (message,) = [fault.message for fault in caught.value.faults if fault.pointer == "/auth/privateKey/d"]
    assert "keep the whole JWK" in message


LINE_RULE = "must be 1 to 2048 characters"
USED_BY_KEYS = "is used only with the client authentication private_key_jwt or the grant jwt_bearer"
KEY_ID_RULE = "is required with the client authentication private_key_jwt, unless a JWK has a `kid`"
#: Credentials, and what is told of each of their members that is at fault ("": of all of them).
TOLD = [
    *((auth, {"": 'must have a `type` of "basic", "oauth2" or "mtls"'}) for auth in (5, {}, {"type": "x"}, {"type": 5})),
    ([], {"": "must be one kind of credentials, or a list of one or two"}),
    ([BASIC, OAUTH], {"": 'holds two that cannot be combined: only "mtls" can be combined with another'}),
    (BASIC | {"username": "a:b"}, {"/username": "must have no colon"}),
    (BASIC | {"username": "", "password": "x" * 2_049}, {"/username": LINE_RULE, "/password": LINE_RULE}),
    (BASIC | {"username": "a\x7f", "realm": 1}, {"/username": "must have no control characters", "/realm": "is not a known field"}),
    *(
        ({"type": "oauth2", "tokenUrl": OAUTH["tokenUrl"], **given}, {
            "/clientId": "is required", "/clientSecret": f"is required with the client authentication {proof}",
        })
        for given, proof in (({}, "basic"), ({"clientAuth": "post"}, "post"))
    ),
    (WITHOUT_ID, {"/keyId": KEY_ID_RULE, "/privateKey": "is required, to sign with"}),
    (WITHOUT_ID | {"privateKey": PEM}, {"/keyId": KEY_ID_RULE}),
    ({"type": "oauth2", "tokenUrl": OAUTH["tokenUrl"], "grant": "jwt_bearer", "privateKey": PEM}, {
        "/issuer": "is required with the grant jwt_bearer, unless clientId is the issuer",
    }),
    (SIGNED | SECRET | {"privateKey": PEM}, {"/clientSecret": "is not used with the client authentication private_key_jwt"}),
    (SIGNED | {"privateKey": PEM, "issuer": "i", "subject": "s"}, dict.fromkeys(
        ("/issuer", "/subject"), "is used only with the grant jwt_bearer")),
    (OAUTH | {"privateKey": PEM, "keyId": "k", "algorithm": "ES256"}, dict.fromkeys(
        ("/privateKey", "/keyId", "/algorithm"), USED_BY_KEYS)),
    (OAUTH | {"clientAuth": "mtls", "grant": "password", "algorithm": "none"}, {
        "/clientAuth": "must be one of basic, post, private_key_jwt", "/grant": "must be one of client_credentials, jwt_bearer",
        "/algorithm": "must be one of RS256, RS384, ES256, ES384, PS256",
    }),
    (OAUTH | {"scope": "\u00e4"}, {"/scope": "must be names of visible ASCII"}),
    (OAUTH | {"tokenParams": []}, {"/tokenParams": "must be an object of names and strings"}),
    (OAUTH | {"tokenParams": {f"p{number}": "x" for number in range(17)}}, {"/tokenParams": "holds more than 16 names"}),
    (OAUTH | {"tokenParams": {"client_id": "x"}}, {"/tokenParams": "holds client_id, which the relay sends itself"}),
    (OAUTH | {"audience": "a", "tokenParams": {"audience": "b"}}, {"/tokenParams": "holds audience, which `audience` gives as well"}),
    (SIGNED | {"privateKey": 5}, {"/privateKey": "must be a private key: PEM text, or a JWK (an object)"}),
    (SIGNED | {"privateKey": "x" * 32_769}, {"/privateKey": "is longer than 32768 bytes"}),
    (SIGNED | {"privateKey": {"d": "x" * 32_769}}, {"/privateKey": "is longer than 32768 bytes"}),
    (SIGNED | {"privateKey": jwk_without("P-256", "d")}, {"/privateKey": "is a public key: the private one is needed"}),
    (SIGNED | {"privateKey": PEM, "algorithm": "RS256"}, {"/algorithm": "does not fit the private key, which signs with ES256"}),
    ({"type": "mtls"}, {"/certificate": "is required", "/key": "is required"}),
]  # fmt: skip


@pytest.mark.parametrize(("auth", "said"), TOLD)
def test_what_is_wrong_with_credentials_is_told_of_each_member(auth, said):
    with pytest.raises(DocumentError) as caught:
        register(auth=auth)
    told = {fault.pointer.removeprefix("/auth"): fault.message for fault in caught.value.faults}
    assert told == said


def test_what_is_wrong_with_a_certificate_is_told(pems):
    good = {"type": "mtls", "certificate": pems[0], "key": pems[1]}
    too_long = "must be PEM text of at most 32768 bytes"
    for member, wrong, said in (
        ("certificate", "x", "must be a certificate in PEM, first its own, then those that it was issued by"),
        ("certificate", pems[0] + "x" * 32_768, too_long),
        ("certificate", pems[0] + "\u00e4", too_long),
        ("key", "x", "must be a private key in PEM, not encrypted"),
        ("key", "x" * 32_769, too_long),
        ("key", PEM, "is not the key of the certificate"),
    ):
        with pytest.raises(DocumentError) as caught:
            register(auth=good | {member: wrong})
        assert [(fault.pointer, fault.message) for fault in caught.value.faults] == [(f"/auth/{member}", said)]
    assert register(auth=good | {"key": pems[1].ljust(32_768, "\n")})


@pytest.mark.parametrize(
    ("signing", "pointer", "said"),
    [
        *((value, "/signing", "must be a secret, or a list of 1 to 5 of them") for value in (5, [], [whsec()] * 6)),
        ("x", "/signing", "must begin with `whsec_`"),
        *((value, "/signing", "must be base64 of 24 to 64 bytes after `whsec_`") for value in ("whsec_x", whsec(23), whsec(65), whsec(25).replace("GA==", "GB=="))),
        (["x"], "/signing/0", "must begin with `whsec_`"),
        ([whsec(), whsec()], "/signing/1", "is given twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_signing_secret_is_told(signing, pointer, said):
    with pytest.raises(DocumentError) as caught:
        register(signing=signing)
    assert [(fault.pointer, fault.message) for fault in caught.value.faults] == [(pointer, said)]
