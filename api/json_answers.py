"""Answers requests with JSON that no cache may keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.text.media_types import JSON_TYPE

if TYPE_CHECKING:
    import falcon


def answer_with(resp: falcon.Response, content: bytes) -> None:
    """Answer with this JSON text."""
    resp.set_header("Cache-Control", "no-store")
    resp.content_type, resp.data = JSON_TYPE, content
