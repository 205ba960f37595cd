"""The first and the last that happens to a request: whether it is one at all, and its event in the log.

What is refused for want of a key is no event of its own: anybody can make as many of these as he likes. They are
counted, and written once a minute.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import falcon

from relay.errors import BadParameter
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from relay.authentication.source_address import SourceAddresses
    from relay.authentication.unkeyed_refusals import UnkeyedRefusals

_METHODS: Final = ("GET", "HEAD", "POST", "OPTIONS")


class RequestLog:
    """Middleware: one event a request, with ids and codes only, never a path, a header's value or a body."""

    def __init__(self, refusals: UnkeyedRefusals, addresses: SourceAddresses) -> None:
        self._refusals = refusals
        self._addresses = addresses

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:  # noqa: ARG002 - Falcon's signature
        """Start the clock; turn away methods that nothing here knows, and what is no request of HTTP/1.1."""
        req.context.started_s = time.monotonic()
        if req.method not in falcon.HTTP_METHODS:
            raise falcon.HTTPMethodNotAllowed(_METHODS)
        host = req.env.get("HTTP_HOST", "")  # several are joined by commas, of which a host has none
        if "," in host or (not host and req.env.get("SERVER_PROTOCOL") == "HTTP/1.1"):
            raise BadParameter("A request has exactly one Host header.")

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        resource: object,  # noqa: ARG002 - Falcon's signature
        req_succeeded: bool,  # noqa: ARG002 - Falcon's signature
    ) -> None:
        """Write the event, or count it."""
        context = req.context
        key, code = getattr(context, "key", None), getattr(context, "code", None)
        if key is None and code is not None and resp.status_code < 500:
            self._refusals.add(code, self._addresses.of(req.env))
            return
        event(
            Event.REQUEST,
            method=req.method if req.method in falcon.HTTP_METHODS else None,
            route=req.uri_template,
            status=resp.status_code,
            code=code,
            plugin=None if key is None else key.plugin,
            key=None if key is None else key.id,
            reference_id=getattr(context, "reference_id", None),
            items=getattr(context, "item_count", None),
            ms=round((time.monotonic() - context.started_s) * 1000, 1),
        )
