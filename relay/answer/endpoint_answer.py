"""Holds the endpoint's answer to one attempt, or why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from relay.domain.invocation import Outcome, Sent


class EndpointAnswer(NamedTuple):
    """An unmasked answer. ``status`` is 0 and ``body`` empty unless the outcome is ``answered``."""

    outcome: Outcome
    sent: Sent
    status: int
    content_type: str | None  # the header's value as it came
    body: bytes  # decoded: chunks and content encodings are undone
    duration_ms: int
    response_bytes: int  # decoded body bytes received, also of an answer that was then refused
    retry_after: str | None  # the header's value as it came (RFC 9110, 10.2.3)
    started_at_ms: int  # this machine's wall clock, milliseconds since the epoch
