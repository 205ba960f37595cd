"""Checks the header names and values of registrations and callers (security.md, "The door")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_HEADERS: Final = 64
MAX_VALUE_BYTES: Final = 2_048
MAX_VALUES_BYTES: Final = 8_192  # of all pre-filled values, and of all of a caller's

#: Headers whose pre-filled values are not secret, and never masked.
PUBLIC_HEADERS: Final = frozenset({"content-type", "accept", "user-agent"})
#: Secrets shorter than this cannot be masked without taking innocent text out of answers.
MIN_MASKED_LENGTH: Final = 8

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?\Z")
#: Visible ASCII, with spaces inside.
VISIBLE_TEXT: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?\Z")

# Headers of the connection, headers that proxies and caches add, and those that let a caller impersonate another.
_FORBIDDEN: Final = frozenset(
    {
        *(
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "keep-alive",
            "te",
            "trailer",
            "upgrade",
            "expect",
        ),
        *("http2-settings", "accept-encoding", "content-encoding", "forwarded", "via", "x-real-ip", "x-original-url"),
        *("x-rewrite-url", "x-method-override", "webhook-id", "webhook-timestamp", "webhook-signature", "range"),
        *("if-range", "date", "age", "max-forwards", "alt-svc", "early-data"),
    }
)
_FORBIDDEN_PREFIXES: Final = ("proxy-", "x-forwarded-", "x-http-method", "sec-", "access-control-")
# Credentials and cloud gateways' own headers: they may be pre-filled, but left to callers only by a hidden webhook.
_PREFILLED_ONLY: Final = frozenset({"authorization", "cookie", "x-api-key"})
_PREFILLED_ONLY_PREFIXES: Final = ("x-amz-", "x-goog-", "x-ms-", "cf-")


def value_fault(value: Any) -> str | None:
    """Return what is wrong with a header value, without quoting it; None if nothing is."""
    if not isinstance(value, str):
        return "must be a string"
    if len(value) > MAX_VALUE_BYTES:
        return f"is longer than {MAX_VALUE_BYTES} bytes"
    if not VISIBLE_TEXT.match(value):
        return "must be visible ASCII characters, with blanks only between them, and not empty"
    return None


def registration_faults(headers: Mapping[str, Any], *, hidden: bool) -> Iterable[tuple[str | None, str]]:
    """Yield faults of a registration's ``headers``, each with the header's name (None for all of them together).

    A text is a pre-filled value; ``None`` and ``""`` are for the caller to fill.
    """
    if len(headers) > MAX_HEADERS:
        yield None, f"holds more than {MAX_HEADERS} headers"
    seen: set[str] = set()
    for name, value in headers.items():
        fillable = value is None or value == ""
        fault = _name_fault(name, fillable=fillable, hidden=hidden) or (None if fillable else value_fault(value))
        if name.lower() in seen:
            fault = fault or "is given twice (upper and lower case are the same)"
        seen.add(name.lower())
        if fault:
            yield name, fault
    if sum(len(value) for value in headers.values() if isinstance(value, str)) > MAX_VALUES_BYTES:
        yield None, f"holds values of more than {MAX_VALUES_BYTES} bytes in all"


def _name_fault(name: str, *, fillable: bool, hidden: bool) -> str | None:
    if not _NAME.match(name):
        return "is not a header name of letters, digits and inner hyphens, at most 64"
    lower = name.lower()
    if lower in _FORBIDDEN or lower.startswith(_FORBIDDEN_PREFIXES):
        return "is a header that no registration may set"
    prefilled_only = lower in _PREFILLED_ONLY or lower.startswith(_PREFILLED_ONLY_PREFIXES)
    if fillable and prefilled_only and not hidden:
        return "may be pre-filled, but not left to callers, except on a hidden webhook"
    return None


def caller_faults(headers: Mapping[str, Any], fillable: Mapping[str, str]) -> Iterable[tuple[str | None, str]]:
    """Yield faults of a caller's ``headers``; ``fillable`` maps lower-case names to their registered spelling.

    Unknown, pre-filled, forbidden and malformed names all get the same answer.
    """
    seen: set[str] = set()
    for name, value in headers.items():
        lower = name.lower()
        if not name.isascii() or lower not in fillable:  # the Kelvin sign lower-cases to k
            yield name, "is not a header that callers of this webhook may set"
        elif lower in seen:
            yield name, "is given twice (upper and lower case are the same)"
        elif fault := value_fault(value):
            yield name, fault
        seen.add(lower)
    if sum(len(value) for value in headers.values() if isinstance(value, str)) > MAX_VALUES_BYTES:
        yield None, f"holds values of more than {MAX_VALUES_BYTES} bytes in all"
