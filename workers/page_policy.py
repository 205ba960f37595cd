"""Sends with each of Flower's pages what a browser may do with it: no frames around it, no code but its own files."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Any, Final

from flower.views import BaseHandler
from tornado.web import RequestHandler

#: The one script within a page (workers.html), for each value that it may hold.
_WITHIN: Final = tuple(f"\n  var autorefresh = {value};\n" for value in (0, 1))
_SCRIPTS: Final = " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in _WITHIN)
#: Styles stand within pages too, as its tables set the widths of columns; its style sheets hold pictures.
_POLICY: Final = (
    f"default-src 'none'; script-src 'self' {_SCRIPTS}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
PAGE_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def send_policy() -> None:
    """Make all handlers of this process send the policy, those of files and of errors too."""
    own = BaseHandler.set_default_headers

    def set_policy(handler: Any) -> None:
        for name, value in PAGE_HEADERS.items():
            handler.set_header(name, value)

    def set_both(handler: Any) -> None:
        own(handler)
        set_policy(handler)

    RequestHandler.set_default_headers = set_policy  # type: ignore[method-assign, assignment]
    BaseHandler.set_default_headers = set_both
