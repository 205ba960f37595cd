"""Makes spans that OpenTelemetry exports as OTLP. Only this module needs the extra ``otel``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from relay.telemetry.spans import Spans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

_PATH: Final = "/v1/traces"
_TIMEOUT_S: Final = 5
#: Ended spans are exported after `_DELAY_MS`, or when `_GROUP` have ended; beyond `_QUEUE` they are dropped.
_DELAY_MS: Final = 1_000
_GROUP: Final = 512
_QUEUE: Final = 8_192
_FLUSH_MS: Final = 2_000
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class OtlpSpan:
    """A span of a trace."""

    def __init__(self, span: Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(span))
        self.traceparent: str | None = carrier.get("traceparent")

    def end(self, attributes: Mapping[str, str | int | bool]) -> None:
        """End the span with these attributes; ``error`` becomes its status."""
        if self._span.is_recording():
            self._span.set_attributes({name: value for name, value in attributes.items() if name != "error"})
            if attributes.get("error"):
                self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class OtlpSpans(Spans):
    """Makes spans and exports them, from threads or greenlets of its own. Spans that a collector rejects are lost."""

    def __init__(self, endpoint: str, *, process: str, percent: int) -> None:
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(percent / 100)),
            resource=Resource.create({SERVICE_NAME: "webhook-relay", SERVICE_INSTANCE_ID: process}),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint.rstrip("/") + _PATH, timeout=_TIMEOUT_S)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter, max_queue_size=_QUEUE, schedule_delay_millis=_DELAY_MS, max_export_batch_size=_GROUP
            )
        )
        self._tracer: Tracer = self._provider.get_tracer("webhook-relay")

    def door(self, traceparent: str | None) -> OtlpSpan:
        """Begin the span of a request that the door let in, as a child of its caller's."""
        return OtlpSpan(self._tracer.start_span("relay.door", _context(traceparent), SpanKind.SERVER))

    def attempt(self, traceparent: str | None, *, claimed_at_ms: int, waited_ms: int | None) -> OtlpSpan:
        """Begin the span of an outbound request; for a first attempt, below a span of its time in the queue."""
        context = _context(traceparent)
        if waited_ms is not None:
            queued = self._tracer.start_span(
                "relay.queue", context, SpanKind.CONSUMER, start_time=_ns(claimed_at_ms - waited_ms)
            )
            queued.end(_ns(claimed_at_ms))
            context = set_span_in_context(queued)
        return OtlpSpan(self._tracer.start_span("relay.attempt", context, SpanKind.CLIENT))

    def flush(self) -> None:
        """Export the ended spans, within `_FLUSH_MS`."""
        self._provider.force_flush(_FLUSH_MS)


def _context(traceparent: str | None) -> Context:
    return _PROPAGATOR.extract({} if traceparent is None else {"traceparent": traceparent})


def _ns(time_ms: int) -> int:
    return time_ms * 1_000_000
