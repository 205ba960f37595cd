"""What is the same for everybody and holds no secret: the client module, the OpenAPI document, the page of it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    import falcon

_AGE_S: Final = 300


class PublicationResource:
    """Serves one content, made when the process starts, to any page; 304 where the browser has it."""

    def __init__(self, content: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> None:
        self._content = content
        self._media_type = media_type
        self._etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        self._headers = {
            "Access-Control-Allow-Origin": "*",
            "Cache-Control": f"public, max-age={_AGE_S}",
            "ETag": self._etag,
            "X-Content-Type-Options": "nosniff",
            **(headers or {}),
        }

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The content, or 304."""
        for name, value in self._headers.items():
            resp.set_header(name, value)
        known = (req.get_header("If-None-Match") or "").replace("W/", "").split(",")
        if any(tag.strip() in {self._etag, "*"} for tag in known):
            resp.status = 304
            return
        resp.content_type, resp.data = self._media_type, self._content

    on_head = on_get
