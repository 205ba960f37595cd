"""The token endpoint of the fake EHR: client credentials for a signed assertion, as SMART Backend Services have it."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError

ALGORITHMS: Final = ["ES384", "RS384"]
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MOST_S: Final = 300
SCOPES: Final = {"system/Patient.r", "system/Observation.s", "system/DocumentReference.c"}
_MEMBERS: Final = ["client_assertion", "client_assertion_type", "grant_type", "scope"]


class TokenRefused(Exception):
    """Says why there is no token: an error code of RFC 6749, and for the log of the EHR what it is about."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass
class TokenEndpoint:
    """Gives tokens to one client, whose public key it knows by its id."""

    url: str
    client_id: str
    key_id: str
    key: Any
    _used: set[str] = field(default_factory=set)  # the assertions' ids
    _scopes: dict[str, str] = field(default_factory=dict)  # of each token

    def grant(self, pairs: list[tuple[str, str]]) -> dict[str, Any]:
        """Return the answer to a form that holds a token, or raise `TokenRefused`."""
        form, names = dict(pairs), sorted(name for name, _ in pairs)
        if names != _MEMBERS or form["client_assertion_type"] != ASSERTION_TYPE:
            raise TokenRefused("invalid_request", f"a form of {names}")
        if form["grant_type"] != "client_credentials":
            raise TokenRefused("unsupported_grant_type", form["grant_type"])
        self._check(form["client_assertion"])
        if not set(form["scope"].split()) <= SCOPES:
            raise TokenRefused("invalid_scope", form["scope"])
        token = secrets.token_urlsafe(32)
        self._scopes[token] = form["scope"]
        return {"access_token": token, "token_type": "bearer", "expires_in": MOST_S, "scope": form["scope"]}

    def allows(self, authorization: str | None, scope: str) -> bool:
        """Return whether a header `Authorization` has a token with this scope."""
        kind, _, token = (authorization or "").partition(" ")
        return kind == "Bearer" and scope in self._scopes.get(token, "").split()

    def _check(self, assertion: str) -> None:
        try:
            read = jwt.decode(assertion, self.key, algorithms=ALGORITHMS)
            expected = {"iss": self.client_id, "sub": self.client_id, "aud": self.url}
            times = {"exp": {"essential": True}, "iat": {}, "nbf": {}}
            options = {name: {"essential": True, "value": value} for name, value in expected.items()}
            jwt.JWTClaimsRegistry(**options, **times, jti={"essential": True}).validate(read.claims)
        except (JoseError, ValueError) as fault:
            raise TokenRefused("invalid_client", f"{type(fault).__name__}: {fault}") from fault
        if read.header.get("kid") != self.key_id:
            raise TokenRefused("invalid_client", "another key id")
        if read.claims["exp"] > time.time() + MOST_S:
            raise TokenRefused("invalid_client", "an end more than five minutes away")
        if read.claims["jti"] in self._used:
            raise TokenRefused("invalid_client", "an assertion that was used before")
        self._used.add(read.claims["jti"])
