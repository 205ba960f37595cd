"""Credentials beyond fixed headers: how a webhook proves to its endpoint who is calling. Part of the sealed target."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote_plus

from relay.registration.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping


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
class ClientCredentials:
    """The OAuth 2.0 client credentials grant (RFC 6749, 4.4); the client proves itself with HTTP Basic (2.3.1)."""

    token_url: Endpoint
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None
    audience: str | None = None  # in no RFC, but several authorization servers need it

    @property
    def header(self) -> str:
        """The value of ``Authorization`` in the token request: both parts are form-encoded first, as the RFC says."""
        return _basic(quote_plus(self.client_id), quote_plus(self.client_secret))


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """Mutual TLS: a certificate (with its chain) and its unencrypted private key, both PEM."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A webhook's credentials: at most one kind that goes into ``Authorization``, and at most one certificate."""

    authorization: Basic | ClientCredentials | None = None
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
            value = _authorization_value(authorization) or {}
            if isinstance(authorization, ClientCredentials):
                value["tokenUrl"] = authorization.token_url.url
            found.append({name: each for name, each in value.items() if each is not None})
        if certificate is not None:
            found.append({"certificate": certificate.certificate, "key": certificate.key})
        return [{"type": kind, **each} for kind, each in zip(self.kinds, found, strict=True)]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of these credentials, by their names in a registration document."""
        names = {Basic: "basic", ClientCredentials: "oauth2"}
        found = [names[type(self.authorization)]] if self.authorization is not None else []
        return (*found, *["mtls"] * (self.certificate is not None))


def _basic(user: str, password: str) -> str:
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode('ascii')}"


def _authorization_value(authorization: Basic | ClientCredentials | None) -> dict[str, Any] | None:
    if authorization is None:
        return None
    if isinstance(authorization, Basic):
        return {"username": authorization.username, "password": authorization.password}
    return {
        "tokenUrl": authorization.token_url.to_value(),
        "clientId": authorization.client_id,
        "clientSecret": authorization.client_secret,
        "scope": authorization.scope,
        "audience": authorization.audience,
    }


def _authorization_from(value: Mapping[str, Any] | None) -> Basic | ClientCredentials | None:
    if value is None:
        return None
    if "username" in value:
        return Basic(value["username"], value["password"])
    return ClientCredentials(
        Endpoint.from_value(value["tokenUrl"]),
        value["clientId"],
        value["clientSecret"],
        value["scope"],
        value["audience"],
    )
