"""Turns errors into problem documents (RFC 9457), by one table of the status and title of each class."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from relay import errors
from relay.text.strict_json import dump_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    import falcon

    from relay.errors import RelayError

MEDIA_TYPE: Final = "application/problem+json"
_TYPE_PREFIX: Final = "urn:problem-type:webhook-relay:"

#: HTTP status and title of each error. A class that is not listed (a vault error, a bad setting) becomes `internal`.
_TABLE: Final[Mapping[type[RelayError], tuple[int, str]]] = MappingProxyType(
    {
        errors.MalformedJson: (400, "Malformed JSON"),
        errors.BadParameter: (400, "Bad parameter"),
        errors.Unauthenticated: (401, "Unauthenticated"),
        errors.Forbidden: (403, "Forbidden"),
        errors.WebhookNotRegistered: (404, "Webhook not registered"),
        errors.NotFound: (404, "Not found"),
        errors.MethodNotAllowed: (405, "Method not allowed"),
        errors.RequestTimeout: (408, "Request timeout"),
        errors.Conflict: (409, "Conflict"),
        errors.Cancelled: (409, "Cancelled"),
        errors.Expired: (410, "Expired"),
        errors.TooLarge: (413, "Too large"),
        errors.UnsupportedMediaType: (415, "Unsupported media type"),
        errors.MisdirectedRequest: (421, "Misdirected request"),
        errors.RequestRejected: (422, "Request rejected"),
        errors.IdempotencyKeyReused: (422, "Idempotency key reused"),
        errors.RateLimited: (429, "Rate limited"),
        errors.OverCapacity: (429, "Over capacity"),
        errors.Internal: (500, "Internal error"),
        errors.Unavailable: (503, "Unavailable"),
    }
)

#: The error for each status with which Falcon itself refuses a request; any other 4xx is a bad parameter.
_OF_FRAMEWORK: Final[Mapping[int, type[RelayError]]] = MappingProxyType(
    {
        404: errors.NotFound,
        405: errors.MethodNotAllowed,
        413: errors.TooLarge,
        415: errors.UnsupportedMediaType,
        503: errors.Unavailable,
    }
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document, with the status and headers that it is sent with."""

    status: int
    document: dict[str, Any]
    headers: Mapping[str, str]

    def write(self, resp: falcon.Response) -> None:
        """Write status, document and headers to the response."""
        resp.status = self.status
        resp.data = dump_json(self.document)
        resp.content_type = MEDIA_TYPE
        for name, value in self.headers.items():
            resp.set_header(name, value)


def status_of(kind: type[RelayError]) -> int:
    """Return the HTTP status of an error class that callers may see."""
    return _TABLE[kind][0]


def problem_of(error: RelayError) -> Problem:
    """Return the problem of an error; one that callers may not see becomes `internal`, without its message."""
    if type(error) not in _TABLE:
        error = errors.Internal(reference_id=error.reference_id)
    status, title = _TABLE[type(error)]
    document: dict[str, Any] = {
        "type": _TYPE_PREFIX + error.code,
        "title": title,
        "status": status,
        "detail": error.message,
        "code": error.code,
    }
    if error.faults:
        document["errors"] = [{"pointer": fault.pointer, "message": fault.message} for fault in error.faults]
    if error.reference_id:
        document["referenceId"] = error.reference_id
    return Problem(status, document, _headers(error))


def from_framework(error: falcon.HTTPError) -> RelayError:
    """Return the relay's error for one of Falcon's, without its texts, which may quote the request."""
    if error.status_code in _OF_FRAMEWORK:
        return _OF_FRAMEWORK[error.status_code]()
    return errors.BadParameter() if error.status_code < 500 else errors.Internal()


def _headers(error: RelayError) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, errors.Busy):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return headers
