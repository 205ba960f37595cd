"""The one middleware: checks every request before its resource gets it, and reports every answer.

What becomes known about a request on the way is kept in its context.
"""

from __future__ import annotations

import re
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import falcon

from api.bodies import has_unread_body
from api.queries import check_parameters
from relay.audit.entry import Act
from relay.errors import BadParameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.auth import Authentication
    from api.hosts import Hosts
    from api.request_audit import ActCounts
    from api.request_log import RequestLog
    from relay.store.api_keys.records import ApiKey
    from relay.telemetry.otlp import OtlpSpan
    from relay.telemetry.spans import Spans

_METHODS: Final = ("GET", "HEAD", "POST", "OPTIONS")
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z", re.ASCII
)


class RequestContext(falcon.Context):
    """What is known about a request: set by the middleware, its resource and the error handlers."""

    started_s: float = 0.0
    key: ApiKey | None = None
    code: str | None = None  # of the problem with which it is answered
    reference_id: str | None = None
    webhook_id: str = ""
    item_count: int | None = None  # of a list of triggers
    refused_items: Mapping[str, int] = MappingProxyType({})  # of a list of triggers: how many, by code
    is_audited: bool = False  # a script writes the audit entry
    is_body_read: bool = False
    traceparent: str | None = None
    span: OtlpSpan | None = None


class ApiRequest(falcon.Request):
    """A request with the context of this API."""

    context_type = RequestContext


class Door:
    """Middleware: lets each request in or refuses it, and reports its answer to audit, log and traces.

    A resource with ``scopes`` requires a key with one of them; one without is open to all. Requests to a resource with
    ``is_traced`` get a span. One with ``is_page`` accepts any query, such as ``?v=2`` after an update. Its ``act`` is
    what the audit trail calls a request.
    """

    def __init__(
        self,
        hosts: Hosts,
        authentication: Authentication,
        spans: Spans,
        act_counts: ActCounts,
        log: RequestLog,
    ) -> None:
        self._hosts = hosts
        self._authentication = authentication
        self._spans = spans
        self._act_counts = act_counts
        self._log = log

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:  # noqa: ARG002 - Falcon's signature
        """Note the time; refuse unknown methods and hosts, several Host headers, and HTTP/1.1 without a Host header."""
        req.context.started_s = time.monotonic()
        if req.method not in falcon.HTTP_METHODS:
            raise falcon.HTTPMethodNotAllowed(_METHODS)
        host = req.env.get("HTTP_HOST", "")  # several are joined by commas, which a host cannot have
        if "," in host or (not host and req.env.get("SERVER_PROTOCOL") == "HTTP/1.1"):
            raise BadParameter("The request must have exactly one Host header.")
        self._hosts.check(req)

    def process_resource(
        self,
        req: falcon.Request,
        resp: falcon.Response,  # noqa: ARG002 - Falcon's signature
        resource: object,
        params: dict[str, Any],
    ) -> None:
        """Check the key, its scopes, its origin and the names of query parameters, and begin the span.

        Raises as `Authentication.check`, or ``BadParameter``.
        """
        scopes = getattr(resource, "scopes", None)
        if scopes and req.method != "OPTIONS":
            self._authentication.check(req, scopes)
        if req.query_string and req.method != "OPTIONS" and not getattr(resource, "is_page", False):
            check_parameters(req, resource)
        if getattr(resource, "is_traced", False) and req.method == "POST":
            begin_span(self._spans, req, params.get("webhook_id", ""))

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        resource: object,
        req_succeeded: bool,  # noqa: ARG002 - Falcon's signature
    ) -> None:
        """Set the headers that every answer may need, and report the answer."""
        context, status = req.context, resp.status_code
        if context.span is not None:
            end_span(req, status)
        resp.set_header("X-Content-Type-Options", "nosniff")  # browsers must not guess another type
        if req.path.startswith("/v1/"):
            self._authentication.set_headers(req, resp)
        if has_unread_body(req):
            resp.set_header("Connection", "close")
        act = getattr(resource, "act", Act.REQUEST)
        if not context.is_audited or context.refused_items:
            self._act_counts.add_request(req, status, act)
        self._log.add(req, status, act)


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
