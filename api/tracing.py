"""Makes the spans of requests that bring triggers, and checks their ``traceparent`` (W3C Trace Context, level 1)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import falcon

    from relay.telemetry.spans import Spans

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z", re.ASCII
)


def valid_traceparent(value: str) -> bool:
    """Return whether a value is valid: version, trace id, parent id and flags in lower-case hex, no id all zero.

    Later versions may append fields; such values are not valid here, because nothing could check them.
    """
    return _TRACEPARENT.match(value) is not None


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
