"""Reads a problem document (RFC 9457) of the relay back into the error that it was made from.

The opposite, from an error to its problem document, is in the API (`api.problems`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay.errors import (
    Busy,
    Cancelled,
    Fault,
    Forbidden,
    Internal,
    RateLimited,
    Refused,
    RelayError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_WITH_A_CODE: Final[tuple[type[RelayError], ...]] = (
    *Refused.__subclasses__(),
    Cancelled,
    *Busy.__subclasses__(),
    Internal,
)
_BY_CODE: Final[Mapping[str, type[RelayError]]] = {kind.code: kind for kind in _WITH_A_CODE}

#: The error for a status without a problem document, which comes from a proxy or another server before the relay.
_BY_STATUS: Final[Mapping[int, type[RelayError]]] = {
    401: Unauthenticated,
    403: Forbidden,
    413: TooLarge,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
_NOT_OURS: Final = "The answer did not come from a relay that this client understands."


class UnknownProblem(RelayError):
    """A problem whose ``code`` this version does not know, as from a newer relay."""


def read_problem(status: int, document: Any, retry_after_s: int | None = None) -> RelayError:
    """Return the error for an answer that is not a success.

    Args:
        status: its HTTP status.
        document: its parsed JSON; if that is not a problem document, the status alone decides.
        retry_after_s: its Retry-After in seconds, if it had one.

    Returns:
        An error with faults and reference id filled in; `UnknownProblem` for a code that is not in `relay.errors`.
    """
    code = document.get("code") if isinstance(document, dict) else None
    if isinstance(code, str):
        error = _of_document(code, document)
    else:
        error = _BY_STATUS[status]() if status in _BY_STATUS else Internal(_NOT_OURS)
    if isinstance(error, Busy) and retry_after_s is not None:
        error.retry_after_s = retry_after_s
    return error


def first_of(faults: tuple[Fault, ...]) -> str:
    """Return the first fault, and how many more there are, as a text to add to the message of an error."""
    if not faults:
        return ""
    where = f"{faults[0].pointer}: " if faults[0].pointer else ""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f" {where}{faults[0].message}{more}"


def _of_document(code: str, document: dict[str, Any]) -> RelayError:
    kind = _BY_CODE.get(code, UnknownProblem)
    said = document.get("detail") or document.get("title")
    message = said if said and isinstance(said, str) else kind.sentence
    faults = _faults(document.get("errors"))
    error = kind(message + first_of(faults), faults=faults, reference_id=document.get("referenceId"))
    vars(error)["code"] = code  # overrides the code of the class, of an unknown problem
    return error


def _faults(errors: Any) -> tuple[Fault, ...]:
    if not isinstance(errors, list):
        return ()
    return tuple(
        Fault(str(error.get("pointer", "")), str(error.get("message", "")))
        for error in errors
        if isinstance(error, dict)
    )
