"""What a trace would hold of a call: one span at the door, one in the queue, one for each attempt. Here: nothing.

`relay.telemetry.otlp` has the spans that are exported; a process without ``RELAY_OTLP_ENDPOINT`` carries a caller's
``traceparent`` on as it came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from relay.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.store.transitions import Settlement


class Span(Protocol):
    """Something that has begun and will end."""

    @property
    def traceparent(self) -> str | None:
        """What is carried on: whoever gets it belongs below this span."""

    def end(self, attributes: Mapping[str, str | int | bool]) -> None:
        """End the span."""


@dataclass(frozen=True, slots=True)
class Carried:
    """No span: what came is carried on."""

    traceparent: str | None

    def end(self, attributes: Mapping[str, str | int | bool]) -> None:
        """End the span: nobody is told."""


class Spans:
    """Makes no spans."""

    def door(self, traceparent: str | None) -> Span:
        """Begin the span of a request that was let in."""
        return Carried(traceparent)

    def attempt(self, traceparent: str | None, *, claimed_at_ms: int, waited_ms: int | None) -> Span | None:  # noqa: ARG002
        """Begin the span of a request that leaves; None where there is nothing to say of it."""
        return None

    def flush(self) -> None:
        """Export what has ended."""


def make_spans(endpoint: str | None, *, process: str, percent: int) -> Spans:
    """Return what exports to ``endpoint``, or what exports nothing.

    Raises:
        SettingsError: the extra is not installed.
    """
    if endpoint is None:
        return Spans()
    try:
        from relay.telemetry.otlp import OtlpSpans  # noqa: PLC0415 - an extra
    except ImportError:
        raise SettingsError(
            "RELAY_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: pip install 'webhook-relay[otel]'."
        ) from None
    return OtlpSpans(endpoint, process=process, percent=percent)


def end_of(settlement: Settlement, webhook: tuple[str, str], lane: str) -> dict[str, str | int | bool]:
    """Return what an attempt's span says when it ends: ids and codes, never contents or an address."""
    plugin, webhook_id = webhook
    attempt = settlement.attempt
    return {
        "relay.plugin": plugin,
        "relay.webhook": webhook_id,
        "relay.reference_id": settlement.reference_id,
        "relay.lane": lane,
        "relay.state": str(settlement.state),
        "relay.outcome": str(settlement.outcome),
        "relay.attempt": 0 if attempt is None else attempt.number,
        "http.response.status_code": settlement.status or 0,
        "error": settlement.error is not False,
    }
