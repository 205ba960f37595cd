"""The sample endpoint of ``relay up --demo``: answers with the request that it received. Loopback only.

Some paths misbehave, as endpoints do: `/status/N` answers with the status N, `/unsteady/PERCENT/N` does so only part of
the time, `/slow/MS` takes its time, `/hang-up` ends the connection without an answer.
"""

from __future__ import annotations

import http
import json
import random
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, urlsplit

from relay.text.hosts import LOOPBACK

_MAX_BYTES: Final = 1024 * 1024
_TIMEOUT_S: Final = 30
_DIGITS: Final = 7
_HIGHEST_STATUS: Final = 599


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT_S
    disable_nagle_algorithm = True  # or the body waits 40 ms for the acknowledgement of the head

    def _answer(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _MAX_BYTES:
            self.close_connection = True
            self.send_error(413)
            return
        body = self.rfile.read(int(length)).decode("utf-8", "replace")
        status = self._status()
        if status is None:
            self.close_connection = True
            return
        received = {
            "method": self.command,
            "query": parse_qs(urlsplit(self.path).query),
            "headers": dict(self.headers.items()),
            "body": _value(body),
        }
        content = json.dumps(received).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _status(self) -> int | None:
        """Wait as long as the path asks for, and return the status it asks for; None for no answer at all."""
        match urlsplit(self.path).path.split("/"):
            case ["", "hang-up"]:
                return None
            case ["", "slow", ms] if _is_count(ms):
                time.sleep(min(int(ms) / 1000, _TIMEOUT_S))
            case ["", "status", status] if _is_status(status):
                return int(status)
            case ["", "unsteady", percent, status] if _is_count(percent) and _is_status(status):
                return int(status) if random.random() * 100 < int(percent) else 200  # noqa: S311 - no secret
        return 200

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815  # the names http.server calls

    def log_message(self, *_: object) -> None:
        """Log nothing, because a request may hold private data."""


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < _DIGITS


def _is_status(text: str) -> bool:
    return _is_count(text) and http.HTTPStatus.OK <= int(text) <= _HIGHEST_STATUS


def _value(body: str) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return body


def main(port: int) -> None:
    """Serve on this port of the loopback interface until the process ends."""
    with ThreadingHTTPServer((LOOPBACK, port), _Echo) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
