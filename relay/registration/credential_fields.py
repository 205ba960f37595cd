"""The fields of credentials and of signing in a registration document."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from marshmallow import RAISE, ValidationError, fields, validate

from relay.registration.credentials import CLIENT_CREDENTIALS, JWT_BEARER, PRIVATE_KEY_JWT, proof_of
from relay.registration.field_kinds import Fields, Text
from relay.registration.header_rules import VISIBLE_TEXT
from relay.registration.path_params import PARAMETER_NAME
from relay.registration.private_keys import ALGORITHMS, MAX_KEY_LENGTH, UnfitKeyError, key_id_in, read_signing_key
from relay.registration.signing import SECRET_PREFIX
from relay.text.strict_json import dump_json

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SECRETS: Final = 5
#: The lengths that Standard Webhooks 1.0 allows for a symmetric secret.
MIN_SECRET_BYTES: Final = 24
MAX_SECRET_BYTES: Final = 64
MAX_CREDENTIAL_LENGTH: Final = 2_048
MAX_PEM_LENGTH: Final = 32 * 1024

MAX_TOKEN_PARAMS: Final = 16

#: Parameters of the token request that a registration gives in other members, or cannot give.
_OWN_PARAMS: Final = frozenset(
    {"grant_type", "scope", "client_secret", "client_assertion", "client_assertion_type", "assertion"}
)
_PARAM_RULE: Final = "must be named by 1 to 64 letters, digits and `._~-`"
#: What only a client that signs has: the names in a document, and those of the members.
_OF_KEYS: Final = {"privateKey": "private_key", "keyId": "key_id", "algorithm": "algorithm"}
_KEY_ID_RULE: Final = f"is required with the client authentication {PRIVATE_KEY_JWT}, unless a JWK has a `kid`"
_PRINTABLE: Final = re.compile(r"[^\x00-\x1f\x7f]*\Z")
_TYPES_RULE: Final = 'must have a `type` of "basic", "oauth2" or "mtls"'


def signing_secrets_of(value: Any) -> tuple[str, ...]:
    """Read one secret, or a list of them. All of them sign, so that an endpoint can change to a new one."""
    secrets = [value] if isinstance(value, str) else value
    if not isinstance(secrets, list) or not 1 <= len(secrets) <= MAX_SECRETS:
        raise ValidationError(f"must be a secret, or a list of 1 to {MAX_SECRETS} of them")
    faults: dict[Any, list[str]] = {}
    for number, secret in enumerate(secrets):
        message = _secret_fault(secret)
        if message is None and secret in secrets[:number]:
            message = "is given twice"
        if message is not None:
            faults[number] = [message]
    if faults:
        raise ValidationError(faults[0] if isinstance(value, str) else dict(faults))
    return tuple(secrets)


def _secret_fault(secret: Any) -> str | None:
    if not isinstance(secret, str) or not secret.startswith(SECRET_PREFIX):
        return f"must begin with `{SECRET_PREFIX}`"
    encoded = secret.removeprefix(SECRET_PREFIX)
    try:
        raw = b64decode(encoded)
    except ValueError:  # the base of binascii.Error
        raw = b""
    if b64encode(raw).decode() != encoded or not MIN_SECRET_BYTES <= len(raw) <= MAX_SECRET_BYTES:
        return f"must be base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes after `{SECRET_PREFIX}`"
    return None


def _line(**arguments: Any) -> Text:
    """Make the field of a text without control characters."""
    length = validate.Length(1, MAX_CREDENTIAL_LENGTH, error=f"must be 1 to {MAX_CREDENTIAL_LENGTH} characters")
    rule = validate.Regexp(_PRINTABLE, error="must have no control characters")
    return Text(validate=[length, rule], **arguments)


def _choice(*words: str, **arguments: Any) -> Text:
    """Make the field of one of these words."""
    return Text(validate=validate.OneOf(words, error=f"must be one of {', '.join(words)}"), **arguments)


class _AuthFields(Fields):
    type = Text(required=True)


class BasicFields(_AuthFields):
    """HTTP Basic."""

    username = _line(required=True)
    password = _line(required=True)


def _key_of(value: Any) -> str | dict[str, Any]:
    """Return a private key: PEM text, or a JWK as an object or as JSON text."""
    if not isinstance(value, str | dict):
        raise ValidationError("must be a private key: PEM text, or a JWK (an object)")
    if len(value if isinstance(value, str) else dump_json(value)) > MAX_KEY_LENGTH:
        raise ValidationError(f"is longer than {MAX_KEY_LENGTH} bytes")
    return value


def _token_params_of(value: Any) -> dict[str, str]:
    """Return ``{name: value}``: further parameters of the token request."""
    if not isinstance(value, dict):
        raise ValidationError("must be an object of names and strings")
    if len(value) > MAX_TOKEN_PARAMS:
        raise ValidationError(f"holds more than {MAX_TOKEN_PARAMS} names")
    faults: dict[str, list[str]] = {}
    for name, text in value.items():
        try:
            _line().deserialize(text)
        except ValidationError as error:
            faults[name] = list(error.messages)
        if name in _OWN_PARAMS or not PARAMETER_NAME.match(name):
            faults[name] = ["is a parameter that the relay sends itself" if name in _OWN_PARAMS else _PARAM_RULE]
    if faults:
        raise ValidationError(dict(faults))
    return value


class OAuth2Fields(_AuthFields):
    """OAuth 2.0: client credentials, or a bearer assertion (RFC 7523)."""

    token_url = Text(required=True, data_key="tokenUrl")
    client_id = _line(data_key="clientId")
    client_secret = _line(data_key="clientSecret")
    scope = _line()
    audience = _line()
    client_auth = _choice("basic", "post", PRIVATE_KEY_JWT, data_key="clientAuth")
    grant = _choice(CLIENT_CREDENTIALS, JWT_BEARER)
    private_key = fields.Function(deserialize=_key_of, data_key="privateKey")
    key_id = _line(data_key="keyId")
    algorithm = _choice(*ALGORITHMS)
    issuer = _line()
    subject = _line()
    token_params = fields.Function(deserialize=_token_params_of, data_key="tokenParams")


class MutualTlsFields(_AuthFields):
    """Mutual TLS."""

    certificate = Text(required=True)
    key = Text(required=True)


_FIELDS: Final = {"basic": BasicFields, "oauth2": OAuth2Fields, "mtls": MutualTlsFields}


def auth_of(value: Any) -> list[dict[str, Any]]:
    """Read one kind of credentials, or a list of one or two; one of two is mutual TLS. Token URLs are checked later."""
    if not isinstance(value, list):
        return [_loaded(value)]
    if not 1 <= len(value) <= 2:
        raise ValidationError("must be one kind of credentials, or a list of one or two")
    found: list[dict[str, Any]] = []
    faults: dict[Any, Any] = {}
    for number, each in enumerate(value):
        try:
            found.append(_loaded(each))
        except ValidationError as error:
            faults[number] = error.messages
    if faults:
        raise ValidationError(faults)
    if len(found) == 2 and sum(each["type"] == "mtls" for each in found) != 1:
        raise ValidationError('holds two that cannot be combined: only "mtls" can be combined with another')
    return found


def _loaded(value: Any) -> dict[str, Any]:
    kind = value.get("type") if isinstance(value, dict) else None
    schema = _FIELDS.get(kind) if isinstance(kind, str) else None
    if schema is None or not isinstance(kind, str):
        raise ValidationError(_TYPES_RULE)
    faults: dict[str, Any] = {}
    try:
        loaded = dict(schema(unknown=RAISE).load(value))
    except ValidationError as error:
        loaded, faults = dict(error.valid_data), dict(error.messages_dict)  # type: ignore[arg-type]
    for name, message in _FAULTS[kind](loaded):
        faults.setdefault(name, [message])
    if faults:
        raise ValidationError(faults)
    return loaded


def _basic_faults(loaded: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if ":" in loaded.get("username", ""):
        yield "username", "must have no colon"


def _oauth2_faults(loaded: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is missing, what has no effect, and what does not fit, by the grant and the client's proof."""
    grant = loaded.get("grant", CLIENT_CREDENTIALS)
    proof = proof_of(grant, loaded.get("client_auth"), has_secret="client_secret" in loaded)
    signs = proof == PRIVATE_KEY_JWT or grant == JWT_BEARER
    yield from _missing(loaded, grant, proof)
    yield from _unused(loaded, grant, proof, signs=signs)
    scope = loaded.get("scope")
    if scope is not None and not VISIBLE_TEXT.match(scope):
        yield "scope", "must be names of visible ASCII"
    params = loaded.get("token_params", {})
    if "client_id" in params and proof in {"basic", "post"}:
        yield "tokenParams", "holds client_id, which the relay sends itself"
    if "audience" in params and "audience" in loaded and grant != JWT_BEARER:
        yield "tokenParams", "holds audience, which `audience` gives as well"
    if signs:
        yield from _key_faults(loaded, id_is_needed=proof == PRIVATE_KEY_JWT)


def _missing(loaded: dict[str, Any], grant: str, proof: str | None) -> Iterator[tuple[str, str]]:
    if proof is not None and "client_id" not in loaded:
        yield "clientId", "is required"
    if proof in {"basic", "post"} and "client_secret" not in loaded:
        yield "clientSecret", f"is required with the client authentication {proof}"
    if grant == JWT_BEARER and not {"issuer", "client_id"} & loaded.keys():
        yield "issuer", f"is required with the grant {JWT_BEARER}, unless clientId is the issuer"


def _unused(loaded: dict[str, Any], grant: str, proof: str | None, *, signs: bool) -> Iterator[tuple[str, str]]:
    if proof == PRIVATE_KEY_JWT and "client_secret" in loaded:
        yield "clientSecret", f"is not used with the client authentication {PRIVATE_KEY_JWT}"
    if not signs:
        for name, member in _OF_KEYS.items():
            if member in loaded:
                yield name, f"is used only with the client authentication {PRIVATE_KEY_JWT} or the grant {JWT_BEARER}"
    for name in ("issuer", "subject"):
        if name in loaded and grant != JWT_BEARER:
            yield name, f"is used only with the grant {JWT_BEARER}"


def _key_faults(loaded: dict[str, Any], *, id_is_needed: bool) -> Iterator[tuple[str, str]]:
    if "private_key" not in loaded:
        yield "privateKey", "is required, to sign with"
        if id_is_needed and "key_id" not in loaded:
            yield "keyId", _KEY_ID_RULE
        return
    key, key_id = loaded["private_key"], loaded.get("key_id")
    try:
        read_signing_key(key, loaded.get("algorithm"), key_id)
    except UnfitKeyError as error:
        yield error.member, str(error)
    if id_is_needed and key_id is None and key_id_in(key) is None:
        yield "keyId", _KEY_ID_RULE


def _mtls_faults(loaded: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Check that certificate and key are readable and match. No message quotes a library's, which may quote the key."""
    if not {"certificate", "key"} <= loaded.keys():
        return
    for name in ("certificate", "key"):
        if len(loaded[name]) > MAX_PEM_LENGTH or not loaded[name].isascii():
            yield name, f"must be PEM text of at most {MAX_PEM_LENGTH} bytes"
            return
    try:
        certificates = load_pem_x509_certificates(loaded["certificate"].encode())
        own = certificates[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        yield "certificate", "must be a certificate in PEM, first its own, then those that it was issued by"
        return
    try:
        key = load_pem_private_key(loaded["key"].encode(), password=None)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        yield "key", "must be a private key in PEM, not encrypted"
        return
    if public != own:
        yield "key", "is not the key of the certificate"


_FAULTS: Final = {"basic": _basic_faults, "oauth2": _oauth2_faults, "mtls": _mtls_faults}
