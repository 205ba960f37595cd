"""Defines the spans of a call: one at the door, one in the queue, one for each attempt. This module makes none.

`relay.telemetry.otlp` makes the spans that are exported. A process without ``RELAY_OTLP_ENDPOINT`` passes a caller's
``traceparent`` on as it came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import SettingsError

if TYPE_CHECKING:
    from relay.settings import Settings
    from relay.store.ledger.transitions import Settlement
    from relay.telemetry.otlp import OtlpSpan


class Spans:
    """Makes no spans."""

    def door(self, traceparent: str | None) -> OtlpSpan | None:  # noqa: ARG002
        """Begin the span of a request that the door let in; return None if none is made."""
        return None

    def attempt(self, traceparent: str | None, *, claimed_at_ms: int, waited_ms: int | None) -> OtlpSpan | None:  # noqa: ARG002
        """Begin the span of an outbound request; return None if none is made."""
        return None

    def flush(self) -> None:
        """Export the ended spans."""


def make_spans(settings: Settings, process: str) -> Spans:
    """Return the `Spans` of a process: one that exports to a collector if there is one, or one that exports nothing.

    Raises:
        SettingsError: the extra is not installed.
    """
    if settings.otlp_endpoint is None:
        return Spans()
    try:
        from relay.telemetry.otlp import OtlpSpans  # noqa: PLC0415 - an extra
    except ImportError:
        raise SettingsError(
            "RELAY_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: pip install 'webhook-relay[otel]'."
        ) from None
    return OtlpSpans(settings.otlp_endpoint, process=process, percent=settings.otlp_percent)


def end_of(settlement: Settlement, webhook: tuple[str, str], lane: str) -> dict[str, str | int | bool]:
    """Return the attributes of an attempt's span when it ends: ids and codes, never contents or an address."""
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
