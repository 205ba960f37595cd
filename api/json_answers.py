"""Answers requests, mostly with JSON, and lets no cache keep the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.text.media_types import JSON_TYPE

if TYPE_CHECKING:
    import falcon


def answer_with(resp: falcon.Response, content: bytes, media_type: str = JSON_TYPE) -> None:
    """Answer with this text."""
    resp.set_header("Cache-Control", "no-store")
    resp.content_type, resp.data = media_type, content
