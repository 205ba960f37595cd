"""The fields of credentials and of signing in a registration document."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from marshmallow import RAISE, ValidationError, fields, validate

from relay.registration.field_kinds import Fields, Text
from relay.registration.header_rules import VISIBLE_TEXT
from relay.registration.signing import SECRET_PREFIX

MAX_SECRETS: Final = 5
#: The lengths that Standard Webhooks 1.0 allows for a symmetric secret.
MIN_SECRET_BYTES: Final = 24
MAX_SECRET_BYTES: Final = 64
MAX_CREDENTIAL_LENGTH: Final = 2_048
MAX_PEM_LENGTH: Final = 32 * 1024

_PRINTABLE: Final = re.compile(r"[^\x00-\x1f\x7f]*\Z")
_TYPES_RULE: Final = 'must have a `type` of "basic", "oauth2" or "mtls"'


class SigningSecrets(fields.Field[tuple[str, ...]]):
    """One secret, or a list of them. All of them sign, so that an endpoint can change to a new one."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, ...]:
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
        raw = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if b64encode(raw).decode() != encoded or not MIN_SECRET_BYTES <= len(raw) <= MAX_SECRET_BYTES:
        return f"must be base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes after `{SECRET_PREFIX}`"
    return None


def _line(**arguments: Any) -> Text:
    """Make the field of a text without control characters."""
    length = validate.Length(1, MAX_CREDENTIAL_LENGTH, error=f"must be 1 to {MAX_CREDENTIAL_LENGTH} characters")
    rule = validate.Regexp(_PRINTABLE, error="must have no control characters")
    return Text(validate=[length, rule], **arguments)


class _AuthFields(Fields):
    type = Text(required=True)


class BasicFields(_AuthFields):
    """HTTP Basic."""

    username = _line(required=True)
    password = _line(required=True)


class OAuth2Fields(_AuthFields):
    """OAuth 2.0 client credentials."""

    token_url = Text(required=True, data_key="tokenUrl")
    client_id = _line(required=True, data_key="clientId")
    client_secret = _line(required=True, data_key="clientSecret")
    scope = _line()
    audience = _line()


class MutualTlsFields(_AuthFields):
    """Mutual TLS."""

    certificate = Text(required=True)
    key = Text(required=True)


_FIELDS: Final = {"basic": BasicFields, "oauth2": OAuth2Fields, "mtls": MutualTlsFields}


class AuthList(fields.Field[list[dict[str, Any]]]):
    """One kind of credentials, or a list of one or two; of two, one is mutual TLS. Token URLs are checked later."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[dict[str, Any]]:
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
    if schema is None:
        raise ValidationError(_TYPES_RULE)
    try:
        loaded = dict(schema(unknown=RAISE).load(value))
    except ValidationError as error:
        raise ValidationError(error.messages) from None  # without the valid part, which is of no use alone
    fault = _FAULTS[loaded["type"]](loaded)
    if fault is not None:
        raise ValidationError({fault[0]: [fault[1]]})
    return loaded


def _basic_fault(loaded: dict[str, Any]) -> tuple[str, str] | None:
    return ("username", "must have no colon") if ":" in loaded["username"] else None


def _oauth2_fault(loaded: dict[str, Any]) -> tuple[str, str] | None:
    scope = loaded.get("scope")
    return ("scope", "must be names of visible ASCII") if scope is not None and not VISIBLE_TEXT.match(scope) else None


def _mtls_fault(loaded: dict[str, Any]) -> tuple[str, str] | None:
    """Check that certificate and key are readable and match. No message quotes a library's, which may quote the key."""
    for name in ("certificate", "key"):
        if len(loaded[name]) > MAX_PEM_LENGTH or not loaded[name].isascii():
            return name, f"must be PEM text of at most {MAX_PEM_LENGTH} bytes"
    try:
        certificates = load_pem_x509_certificates(loaded["certificate"].encode())
        own = certificates[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "certificate", "must be a certificate in PEM, first its own, then those that it was issued by"
    try:
        key = load_pem_private_key(loaded["key"].encode(), password=None)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "key", "must be a private key in PEM, not encrypted"
    return None if public == own else ("key", "is not the key of the certificate")


_FAULTS: Final = {"basic": _basic_fault, "oauth2": _oauth2_fault, "mtls": _mtls_fault}
