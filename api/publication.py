"""Serves content that is public and the same for all callers: pages, modules, the OpenAPI document.

The console is served unchanged from ``static/console``; its data comes from /v1. It holds no secret and needs no
key; an operator signs in with a key that stays in the browser's tab.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import falcon

#: The files that the API serves.
STATIC: Final = Path(__file__).parent / "static"
#: Media types by suffix; files with other suffixes (licences, notes) are not served.
_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: A page may use the relay's own files, and nothing else: nothing inline, no form that submits, no frame around it.
PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
_CONSOLE_HEADERS: Final = PAGE_HEADERS | {
    "Access-Control-Allow-Origin": None,
    "Cache-Control": "no-cache",  # revalidated each time, so that no page mixes modules of two releases
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Frame-Options": "DENY",
}
#: The directories whose files are served, each with its route and its headers.
_DIRECTORIES: Final = (
    ("docs", "/docs", None),
    ("console", "/console", _CONSOLE_HEADERS),
    ("vendor", "/console/vendor", _CONSOLE_HEADERS),
)
_AGE_S: Final = 300
#: Smaller content fits into one packet without compression.
_LEAST_BYTES: Final = 1_400


class PublicationResource:
    """Serves content, made when the process starts, to pages of any origin; 304 if the browser has it already.

    A header given as None is not sent, even if it is one of the usual ones.
    """

    is_page = True

    def __init__(self, content: bytes, media_type: str, headers: Mapping[str, str | None] | None = None) -> None:
        self._content = content
        self._packed = gzip.compress(content, mtime=0) if len(content) >= _LEAST_BYTES else None
        self._media_type = media_type
        self._etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        usual: dict[str, str | None] = {
            "Access-Control-Allow-Origin": "*",
            "Cache-Control": f"public, max-age={_AGE_S}",
            "ETag": self._etag,
            "Vary": "Accept-Encoding",
        }
        self._headers = {name: value for name, value in (usual | dict(headers or {})).items() if value is not None}

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with the content, compressed if the caller accepts gzip, or with 304."""
        for name, value in self._headers.items():
            resp.set_header(name, value)
        known = (req.get_header("If-None-Match") or "").replace("W/", "").split(",")
        if any(tag.strip() in {self._etag, "*"} for tag in known):
            resp.status = 304
            return
        resp.content_type, resp.data = self._media_type, self._content
        if self._packed is not None and _takes_gzip(req.get_header("Accept-Encoding") or ""):
            resp.set_header("Content-Encoding", "gzip")
            resp.data = self._packed


def published_files() -> Iterator[tuple[str, PublicationResource]]:
    """Read the files of the pages; yield the route of each, and the resource that serves it."""
    for name, prefix, headers in _DIRECTORIES:
        for path in sorted((STATIC / name).rglob("*")):
            media_type = _MEDIA_TYPES.get(path.suffix)
            if media_type is not None:
                inner = path.relative_to(STATIC / name).as_posix()
                route = prefix if inner == "index.html" else f"{prefix}/{inner}"
                yield route, PublicationResource(path.read_bytes(), media_type, headers)


class FrontResource:
    """`GET /`: redirects to the API's page."""

    is_page = True

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Redirect to a relative address, because a proxy may serve the relay below a path."""
        resp.status = 302
        resp.set_header("Location", "docs")
        resp.set_header("Cache-Control", "no-store")
        resp.content_type, resp.text = "text/plain; charset=utf-8", "The API is described at docs.\n"


def _takes_gzip(accepted: str) -> bool:
    for offer in accepted.lower().split(","):
        name, _, quality = offer.partition(";")
        if name.strip() == "gzip":
            return quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
