"""Makes the spans of requests that bring triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.request.tracing import valid_traceparent

if TYPE_CHECKING:
    import falcon

    from relay.telemetry.spans import Spans


def begin_span(spans: Spans, req: falcon.Request, webhook_id: str) -> None:
    """Begin the span of a request, and set ``req.context.traceparent``, which is passed on."""
    header = req.env.get("HTTP_TRACEPARENT")
    traceparent = header if header and valid_traceparent(header) else None
    span = spans.door(traceparent)
    context = req.context
    context.traceparent = traceparent if span is None else span.traceparent
    context.span, context.webhook_id = span, webhook_id


def end_span(req: falcon.Request, status: int) -> None:
    """End the request's span, with ids and codes as its attributes."""
    context = req.context
    is_known = context.code != "webhook_not_registered"  # otherwise the caller may have made up the id
    attributes = {
        "relay.plugin": context.key.plugin,
        "relay.webhook": context.webhook_id if is_known else "",
        "relay.reference_id": context.reference_id or "",
        "http.route": req.uri_template or "",
        "http.response.status_code": status,
        "error": status >= 500,
    }
    context.span.end({name: value for name, value in attributes.items() if value != ""})
