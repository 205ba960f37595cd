"""Tells browsers what each of Flower's pages may do: be in no frame, and run no code but that of Flower's own files."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Any, Final

from flower.views import BaseHandler
from tornado.web import RequestHandler

#: The only inline script (in workers.html), for each value that it may contain; Tornado sends it without its indent.
_WITHIN: Final = tuple(f"\nvar autorefresh = {value};\n" for value in (0, 1))
_SCRIPTS: Final = " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in _WITHIN)
#: Inline styles are allowed, as the tables set column widths, and so are images in the style sheets.
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
    """Make all handlers of this process send the policy, including those of files and of errors."""
    own = BaseHandler.set_default_headers

    def set_policy(handler: Any) -> None:
        for name, value in PAGE_HEADERS.items():
            handler.set_header(name, value)

    def set_both(handler: Any) -> None:
        own(handler)
        set_policy(handler)

    RequestHandler.set_default_headers = set_policy  # type: ignore[method-assign, assignment]
    BaseHandler.set_default_headers = set_both
