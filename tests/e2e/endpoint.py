"""A third-party endpoint on loopback, which echoes, fails or is slow, and remembers its requests."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


class Endpoint:
    """`/echo` answers with the request's content, `/status/N` with status N, `/slow/S` after S seconds."""

    def __init__(self) -> None:
        self._received: list[Received] = []
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"endpoint": self}))
        self.port: int = self._server.server_address[1]
        self.base_url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    @property
    def count(self) -> int:
        """How many requests it has received."""
        return len(self._received)

    def received(self, reference_id: str) -> list[Received]:
        """Return the requests of one invocation; each carries its reference id."""
        return [each for each in self._received if each.headers.get("webhook-id") == reference_id]

    def answer(self, received: Received) -> tuple[int, object]:
        self._received.append(received)
        match received.path.split("/"):
            case ["", "status", status]:
                return int(status), {"said": int(status)}
            case ["", "slow", seconds]:
                time.sleep(float(seconds))
        return 200, {
            "method": received.method,
            "query": received.query,
            "headers": received.headers,
            "body": received.body.decode("latin-1"),
            "sha256": received.sha256,
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # a relay opens hundreds of connections at once


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    endpoint: Endpoint

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
        status, document = self.endpoint.answer(received)
        answer = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST  # noqa: N815 - the name that http.server calls

    def log_message(self, *_):
        pass
