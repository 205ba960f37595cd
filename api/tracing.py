"""Makes the spans of requests that bring triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.request.tracing import valid_traceparent

if TYPE_CHECKING:
    import falcon

    from relay.telemetry.spans import Span, Spans


class Tracing:
    """Middleware: makes a span for each request that brings triggers; ``req.context.traceparent`` is passed on."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    def process_resource(
        self,
        req: falcon.Request,
        resp: falcon.Response,  # noqa: ARG002 - Falcon's signature
        resource: object,
        params: dict[str, Any],
    ) -> None:
        """Begin the span, once the key is known."""
        if getattr(resource, "is_traced", False) and req.method == "POST":
            header = req.get_header("traceparent") or ""
            span = self._spans.door(header if valid_traceparent(header) else None)
            req.context.span, req.context.traceparent = span, span.traceparent
            req.context.span_webhook = params.get("webhook_id", "")

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        resource: object,  # noqa: ARG002 - Falcon's signature
        req_succeeded: bool,  # noqa: ARG002 - Falcon's signature
    ) -> None:
        """End the span, with ids and codes as its attributes."""
        span: Span | None = getattr(req.context, "span", None)
        if span is not None:
            attributes = {
                "relay.plugin": req.context.key.plugin,
                "relay.webhook": _known_id(req),
                "relay.reference_id": getattr(req.context, "reference_id", None) or "",
                "http.route": req.uri_template or "",
                "http.response.status_code": resp.status_code,
                "error": resp.status_code >= 500,
            }
            span.end({name: value for name, value in attributes.items() if value != ""})


def _known_id(req: falcon.Request) -> str:
    """Return the webhook's id; an empty text if it is not registered, as a caller may have made it up."""
    found = getattr(req.context, "code", None) != "webhook_not_registered"
    return str(req.context.span_webhook) if found else ""
