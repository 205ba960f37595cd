"""Makes token requests of OAuth 2.0 clients (RFC 6749, 4.4; RFC 7523), and reads their answers. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from relay.domain.invocation import Outcome
from relay.errors import MalformedJson, TooLarge
from relay.registration.credentials import JWT_BEARER, PRIVATE_KEY_JWT
from relay.registration.retrying import REPEATABLE_STATUSES, STATUSES
from relay.request.rendering import USER_AGENT, OutgoingHeaders, OutgoingRequest
from relay.text import gradual_json
from relay.text.json_extent import MAX_DEPTH, check_extent
from relay.text.media_types import FORM_TYPE, JSON_TYPE

if TYPE_CHECKING:
    from relay.answer.endpoint_answer import EndpointAnswer
    from relay.registration.credentials import OAuth2Client

#: How many seconds a token is used if its answer does not give a lifetime, and at most.
DEFAULT_LIFETIME_S: Final = 300.0
MAX_LIFETIME_S: Final = 24 * 3600.0
#: A token is given up this many seconds before it expires, or after half its lifetime if that is later.
EXPIRY_MARGIN_S: Final = 60.0
MAX_TOKEN_LENGTH: Final = 8_192
#: The most JSON values in a token endpoint's answer; one with more counts as an answer without a token.
MAX_GRANT_VALUES: Final = 10_000

_BEARER_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TOKEN: Final = re.compile(r"[!-~]+\Z")  # visible ASCII: more than RFC 6750, 2.1, allows, because servers use more
_TRY_AGAIN: Final = STATUSES | REPEATABLE_STATUSES  # a token may be asked for twice
#: The outcome of a call whose token request failed, by that request's outcome. The call itself was not sent.
_FAILURES: Final = {
    Outcome.ANSWER_TIMEOUT: Outcome.CONNECT_TIMEOUT,
    Outcome.CONNECTION_LOST: Outcome.CONNECT_FAILED,
    Outcome.ANSWER_REJECTED: Outcome.PREPARE_FAILED,
}


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """An access token, and for how many seconds it may be used from now."""

    token: str
    usable_s: float


class NoToken(Exception):
    """There is no token; the call that needs it ends with ``outcome``."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.value)
        self.outcome = outcome


def token_request(client: OAuth2Client, now_s: float) -> OutgoingRequest:
    """Make the request to the token endpoint, at ``now_s`` (seconds since the epoch)."""
    fields = {name: value for name, value in _fields(client, now_s).items() if value is not None}
    body = urlencode(fields | dict(client.token_params)).encode("ascii")
    headers = {
        "Accept": JSON_TYPE,
        "User-Agent": USER_AGENT,
        "Content-Type": FORM_TYPE,
        "Content-Length": str(len(body)),
    }
    if client.header is not None:
        headers = {"Authorization": client.header, **headers}
    return OutgoingRequest("POST", client.token_url.url, OutgoingHeaders(headers), body)


def _fields(client: OAuth2Client, now_s: float) -> dict[str, str | None]:
    if client.grant == JWT_BEARER or client.proof == PRIVATE_KEY_JWT:
        from relay.request import assertions  # noqa: PLC0415 - few clients sign, and it loads a lot
    if client.grant == JWT_BEARER:
        assertion = assertions.bearer_assertion(client, now_s)
        fields = {"grant_type": _BEARER_GRANT, "assertion": assertion, "scope": client.scope}
    else:
        fields = {"grant_type": client.grant, "scope": client.scope, "audience": client.audience}
    if client.proof == PRIVATE_KEY_JWT:
        assertion = assertions.client_assertion(client, now_s)
        return fields | {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": assertion}
    if client.proof == "basic":
        return fields
    return fields | {"client_id": client.client_id, "client_secret": client.client_secret}


def read_grant(answer: EndpointAnswer) -> TokenGrant:
    """Read what the token endpoint granted (RFC 6749, 5.1).

    Raises:
        NoToken: the endpoint could not be reached, refused, or answered something else. The outcome allows another
            attempt if the endpoint itself seems to have trouble.
    """
    if answer.outcome is not Outcome.ANSWERED:
        raise NoToken(_FAILURES.get(answer.outcome, answer.outcome))
    if answer.status in _TRY_AGAIN:
        raise NoToken(Outcome.CONNECT_FAILED)
    value = _object(answer.body) if answer.status == 200 else {}
    token, kind = value.get("access_token"), value.get("token_type", "bearer")
    if not isinstance(token, str) or not _TOKEN.match(token) or len(token) > MAX_TOKEN_LENGTH:
        raise NoToken(Outcome.PREPARE_FAILED)
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise NoToken(Outcome.PREPARE_FAILED)
    lifetime_s = _lifetime_s(value.get("expires_in"))
    return TokenGrant(token, lifetime_s - min(EXPIRY_MARGIN_S, lifetime_s / 2))


def _object(body: bytes) -> dict[str, Any]:
    try:
        check_extent(body, MAX_DEPTH, MAX_GRANT_VALUES)
        value = gradual_json.loads(body)
    except (MalformedJson, TooLarge, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _lifetime_s(value: Any) -> float:
    """Read a number of seconds, which some servers send as a text."""
    try:
        lifetime_s = float(value)
    except (TypeError, ValueError, OverflowError):
        return DEFAULT_LIFETIME_S
    return min(lifetime_s, MAX_LIFETIME_S) if lifetime_s > 0 else DEFAULT_LIFETIME_S
