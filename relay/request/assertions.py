"""Makes the assertions that OAuth 2.0 clients sign (RFC 7523): who the client is, and who the token is for. Pure.

The claims of a client's own assertion are also those of SMART Backend Services (SMART App Launch 2.2, "Authentication
Using Asymmetric Keys").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import jwt

from relay.registration.private_keys import read_signing_key

if TYPE_CHECKING:
    from relay.registration.credentials import OAuth2Client

#: For how many seconds an assertion is valid: servers refuse more than five minutes, even by a clock that is behind.
LIFETIME_S: Final = 240


def client_assertion(client: OAuth2Client, now_s: float) -> str:
    """Make a JWT that authenticates the client to its token endpoint (RFC 7523, 2.2)."""
    return _signed(client, {"iss": client.client_id, "sub": client.client_id, "aud": client.token_url.url}, now_s)


def bearer_assertion(client: OAuth2Client, now_s: float) -> str:
    """Make a JWT that is itself the grant (RFC 7523, 2.1). It names the scope, too, which service accounts need."""
    issuer = client.issuer or client.client_id
    claims = {"iss": issuer, "sub": client.subject or issuer, "aud": client.audience or client.token_url.url}
    return _signed(client, claims if client.scope is None else claims | {"scope": client.scope}, now_s)


def _signed(client: OAuth2Client, claims: dict[str, Any], now_s: float) -> str:
    """Sign claims with the client's key. Raises ``UnfitKeyError``."""
    key = read_signing_key(client.private_key or "", client.algorithm, client.key_id)
    times = {"iat": int(now_s), "exp": int(now_s) + LIFETIME_S, "jti": str(uuid4())}
    headers = None if key.key_id is None else {"kid": key.key_id}
    return jwt.encode(claims | times, key.key, algorithm=key.algorithm, headers=headers)
