"""Serves the console: a page and its modules, unchanged from ``static/console``; the data they show comes from /v1.

The page holds no secret and needs no key; an operator signs in with a key that stays in the browser's tab.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from api.publication import STATIC, PublicationResource

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE: Final = "index.html"
#: Media types by suffix; files with other suffixes (licences, notes) are not served.
_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: Allows only files of this origin; nothing inline, no form that submits, no frame around the page.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
CONSOLE_HEADERS: Final = {
    "Access-Control-Allow-Origin": None,
    "Cache-Control": "no-cache",  # revalidated each time, so that no page mixes modules of two releases
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


def console_resources() -> Iterator[tuple[str, PublicationResource]]:
    """Read the console's files; yield the route of each, and the resource that serves it."""
    for directory, prefix in ((STATIC / "console", "/console"), (STATIC / "vendor", "/console/vendor")):
        for path in sorted(directory.rglob("*")):
            media_type = _MEDIA_TYPES.get(path.suffix)
            if media_type is None:
                continue
            name = path.relative_to(directory).as_posix()
            route = "/console" if name == _PAGE else f"{prefix}/{name}"
            yield route, PublicationResource(path.read_bytes(), media_type, CONSOLE_HEADERS)
