"""Makes token requests for OAuth 2.0 client credentials (RFC 6749, 4.4), and reads their answers. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from relay.domain.invocation import Outcome
from relay.errors import MalformedJson, TooLarge
from relay.registration.retrying import REPEATABLE_STATUSES, STATUSES
from relay.request.rendering import USER_AGENT, OutgoingHeaders, OutgoingRequest
from relay.text import gradual_json
from relay.text.json_extent import MAX_DEPTH, check_extent
from relay.text.media_types import FORM_TYPE, JSON_TYPE

if TYPE_CHECKING:
    from relay.answer.endpoint_answer import EndpointAnswer
    from relay.registration.credentials import ClientCredentials

#: How many seconds a token is used if its answer does not say, and at most.
DEFAULT_LIFETIME_S: Final = 300.0
MAX_LIFETIME_S: Final = 24 * 3600.0
#: A token is given up this many seconds before it expires, or after half its life if that is later.
EXPIRY_MARGIN_S: Final = 60.0
MAX_TOKEN_LENGTH: Final = 8_192
#: The most JSON values in a token endpoint's answer; one with more counts as an answer without a token.
MAX_GRANT_VALUES: Final = 10_000

_TOKEN: Final = re.compile(r"[!-~]+\Z")  # visible ASCII: more than RFC 6750, 2.1 allows, because servers use more
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


def token_request(credentials: ClientCredentials) -> OutgoingRequest:
    """Make the request to the token endpoint."""
    fields = {"grant_type": "client_credentials", "scope": credentials.scope, "audience": credentials.audience}
    body = urlencode({name: value for name, value in fields.items() if value is not None}).encode("ascii")
    headers = {
        "Authorization": credentials.header,
        "Accept": JSON_TYPE,
        "User-Agent": USER_AGENT,
        "Content-Type": FORM_TYPE,
        "Content-Length": str(len(body)),
    }
    return OutgoingRequest("POST", credentials.token_url.url, OutgoingHeaders(headers), body)


def read_grant(answer: EndpointAnswer) -> TokenGrant:
    """Read what the token endpoint granted (RFC 6749, 5.1).

    Raises:
        NoToken: the endpoint could not be reached, refused, or answered something else. The outcome allows another
            attempt if the endpoint seems to be in trouble itself.
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
    """Read a number of seconds, which some servers write as a text."""
    try:
        lifetime_s = float(value)
    except (TypeError, ValueError, OverflowError):
        return DEFAULT_LIFETIME_S
    return min(lifetime_s, MAX_LIFETIME_S) if lifetime_s > 0 else DEFAULT_LIFETIME_S
