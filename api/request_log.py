"""Checks each request before anything else does, and writes its event to the log at the end.

A request refused for lack of a key gets no event of its own, because anyone can send any number of them. They are
counted, and the counts are written once a minute.
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
    """Middleware: writes one event a request, with ids and codes only, never a path, a header's value or a body."""

    def __init__(self, refusals: UnkeyedRefusals, addresses: SourceAddresses) -> None:
        self._refusals = refusals
        self._addresses = addresses

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:  # noqa: ARG002 - Falcon's signature
        """Note the time; refuse unknown methods, several Host headers, and HTTP/1.1 without a Host header."""
        req.context.started_s = time.monotonic()
        if req.method not in falcon.HTTP_METHODS:
            raise falcon.HTTPMethodNotAllowed(_METHODS)
        host = req.env.get("HTTP_HOST", "")  # several are joined by commas, which a host cannot have
        if "," in host or (not host and req.env.get("SERVER_PROTOCOL") == "HTTP/1.1"):
            raise BadParameter("The request must have exactly one Host header.")

    def process_response(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        resource: object,  # noqa: ARG002 - Falcon's signature
        req_succeeded: bool,  # noqa: ARG002 - Falcon's signature
    ) -> None:
        """Write the request's event, or count the request if it was refused for lack of a key."""
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
