"""The sample endpoint of ``relay up --demo``: answers with what it was sent, headers and all. Loopback only."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, urlsplit

from relay.up.processes import LOOPBACK

_MAX_BYTES: Final = 1024 * 1024
_TIMEOUT_S: Final = 30


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT_S

    def _answer(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _MAX_BYTES:
            self.close_connection = True
            self.send_error(413)
            return
        body = self.rfile.read(int(length)).decode("utf-8", "replace")
        told = {
            "method": self.command,
            "query": parse_qs(urlsplit(self.path).query),
            "headers": dict(self.headers.items()),
            "body": _value(body),
        }
        content = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815  # the names http.server calls

    def log_message(self, *_: object) -> None:
        """Says nothing: what it is sent may be private."""


def _value(body: str) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return body


def main(port: int) -> None:
    """Serves until it is ended."""
    with ThreadingHTTPServer((LOOPBACK, port), _Echo) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
