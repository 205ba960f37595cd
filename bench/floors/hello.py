"""The smallest useful WSGI application: reads the body, answers with a few bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BODY: Final = b'{"referenceId":"none","state":"queued"}'


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))]
    start_response("202 Accepted", headers)
    return [BODY]
