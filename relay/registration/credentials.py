"""Credentials beyond fixed headers: how a webhook proves to its endpoint who is calling. Part of the sealed target."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote_plus

from relay.registration.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The grants, by their names in a registration document.
CLIENT_CREDENTIALS: Final = "client_credentials"
JWT_BEARER: Final = "jwt_bearer"
#: The client authentication by a signed assertion, as it is registered.
PRIVATE_KEY_JWT: Final = "private_key_jwt"
#: Members of a client that are stored only where they differ from their default, by their names in a document.
_FURTHER: Final = {
    "clientAuth": "client_auth",
    "grant": "grant",
    "privateKey": "private_key",
    "keyId": "key_id",
    "algorithm": "algorithm",
    "issuer": "issuer",
    "subject": "subject",
    "tokenParams": "token_params",
}
_DEFAULTS: Final[tuple[Any, ...]] = (None, CLIENT_CREDENTIALS, {})


@dataclass(frozen=True, slots=True)
class Basic:
    """HTTP Basic (RFC 7617), in UTF-8."""

    username: str
    password: str = field(repr=False)

    @property
    def header(self) -> str:
        """The value of ``Authorization``."""
        return _basic(self.username, self.password)


@dataclass(frozen=True, slots=True)
class OAuth2Client:
    """An OAuth 2.0 client, and how it gets access tokens: its grant, and how it proves itself to the token endpoint."""

    token_url: Endpoint
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    scope: str | None = None
    audience: str | None = None  # requested (in no RFC, but several servers need it); of a bearer assertion: its `aud`
    client_auth: str | None = None  # as registered; see `proof`
    grant: str = CLIENT_CREDENTIALS
    private_key: str | Mapping[str, Any] | None = field(default=None, repr=False, hash=False)  # PEM, or a JWK
    key_id: str | None = None
    algorithm: str | None = None
    issuer: str | None = None
    subject: str | None = None
    token_params: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)

    @property
    def proof(self) -> str | None:
        """How the client proves itself, ``basic``, ``post`` or ``private_key_jwt``; None if its assertion suffices."""
        return proof_of(self.grant, self.client_auth, has_secret=self.client_secret is not None)

    @property
    def header(self) -> str | None:
        """The value of ``Authorization`` in the token request: both parts are form-encoded first (RFC 6749, 2.3.1)."""
        if self.proof != "basic":
            return None
        return _basic(quote_plus(self.client_id or ""), quote_plus(self.client_secret or ""))

    def ways(self) -> dict[str, Any]:
        """Return how it asks for tokens, by the names in a document, without secrets; None where it is as usual."""
        return {
            "grant": None if self.grant == CLIENT_CREDENTIALS else self.grant,
            "clientAuth": self.client_auth,
            "keyId": self.key_id,
            "algorithm": self.algorithm,
            "issuer": self.issuer,
            "subject": self.subject,
            "tokenParams": sorted(self.token_params) or None,
        }


def proof_of(grant: str, client_auth: str | None, *, has_secret: bool) -> str | None:
    """Return how a client proves itself: as registered, else by HTTP Basic if its grant needs it or it has a secret."""
    return client_auth or ("basic" if grant == CLIENT_CREDENTIALS or has_secret else None)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """Mutual TLS: a certificate (with its chain) and its unencrypted private key, both PEM."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A webhook's credentials: at most one kind that goes into ``Authorization``, and at most one certificate."""

    authorization: Basic | OAuth2Client | None = None
    certificate: ClientCertificate | None = None

    def to_value(self) -> dict[str, Any]:
        """Return them as a JSON-ready value."""
        certificate = self.certificate
        return {
            "authorization": _authorization_value(self.authorization),
            "certificate": None if certificate is None else [certificate.certificate, certificate.key],
        }

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Self:
        """Read the value that ``to_value`` returned."""
        certificate = value["certificate"]
        return cls(
            _authorization_from(value["authorization"]),
            None if certificate is None else ClientCertificate(*certificate),
        )

    def to_document(self) -> list[dict[str, Any]]:
        """Return them as they are written in a registration document, as far as their values matter."""
        authorization, certificate = self.authorization, self.certificate
        found: list[dict[str, Any]] = []
        if authorization is not None:
            value = {"type": "basic", **(_authorization_value(authorization) or {})}
            if isinstance(authorization, OAuth2Client):
                value |= {"type": "oauth2", "tokenUrl": authorization.token_url.url}
            found.append({name: each for name, each in value.items() if each is not None})
        if certificate is not None:
            found.append({"type": "mtls", "certificate": certificate.certificate, "key": certificate.key})
        return found

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of these credentials, by their names in a registration document."""
        return tuple(each["type"] for each in self.to_document())


def _basic(user: str, password: str) -> str:
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode('ascii')}"


def _authorization_value(authorization: Basic | OAuth2Client | None) -> dict[str, Any] | None:
    if authorization is None:
        return None
    if isinstance(authorization, Basic):
        return {"username": authorization.username, "password": authorization.password}
    further = {name: getattr(authorization, member) for name, member in _FURTHER.items()}
    return {
        "tokenUrl": authorization.token_url.to_value(),
        "clientId": authorization.client_id,
        "clientSecret": authorization.client_secret,
        "scope": authorization.scope,
        "audience": authorization.audience,
        **{name: value for name, value in further.items() if value not in _DEFAULTS},
    }


def _authorization_from(value: Mapping[str, Any] | None) -> Basic | OAuth2Client | None:
    if value is None:
        return None
    if "username" in value:
        return Basic(value["username"], value["password"])
    return OAuth2Client(
        Endpoint(*value["tokenUrl"]),
        value["clientId"],
        value["clientSecret"],
        value["scope"],
        value["audience"],
        **{member: value[name] for name, member in _FURTHER.items() if name in value},
    )
