"""A relay on loopback that speaks the contract, for the clients' tests. No Redis, no worker.

By default it accepts, waits, answers and remembers idempotency keys as a relay does. A test may queue faults; each
fault is used for one request.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import sys
import threading
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "whk_test_secret"
FINISHED = frozenset({"delivered", "unreachable", "interrupted", "rejected", "cancelled"})


@dataclass(frozen=True)
class Reply:
    """Answers this, without doing what the request asks."""

    status: int
    document: object = None
    headers: dict = field(default_factory=dict)
    raw: bytes | None = None


@dataclass(frozen=True)
class HangUp:
    """Reads the request, optionally does what it asks, and closes the connection instead of answering."""

    accept: bool = False


@dataclass(frozen=True)
class Silence:
    """Does what the request asks, and answers after ``seconds``."""

    seconds: float


@dataclass(frozen=True)
class Drip:
    """Does what the request asks, and answers for a minute: a byte every tenth of a second, then the rest."""

    chunked: bool = False


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Webhook:
    """How invocations of it end: after ``seconds``, at the earliest at request ``at_request`` for one, in ``state``."""

    seconds: float = 0
    at_request: int = 1
    state: str = "delivered"
    status: int = 200
    data: object = None
    outcome: str | None = None
    payload_encoding: str | None = None
    payload: str | None = None


#: Webhooks that end in the ways that callers have to expect.
USUAL = {
    "jpeg": Webhook(payload_encoding="base64"),
    "fails": Webhook(status=500, data="broken"),
    "gone": Webhook(state="unreachable", status=0, data={"code": "unreachable", "message": "..."}),
    "slow": Webhook(seconds=1.5, data="late"),
    "later": Webhook(at_request=2, data="late"),
    "never": Webhook(seconds=600),
    "misfit": Webhook(at_request=2, state="rejected", outcome="request_rejected"),
    "removed": Webhook(at_request=2, state="rejected", outcome="webhook_not_registered"),
    "stopped": Webhook(at_request=2, state="cancelled"),
}


class FakeRelay:
    def __init__(self, **webhooks: Webhook) -> None:
        self.webhooks = {name.replace("_", "-"): webhook for name, webhook in webhooks.items()}
        self.faults: deque = deque()
        self.seen: list[Seen] = []
        self.invocations: dict[str, tuple[float, Webhook]] = {}
        self.room_to_wait = True
        self.max_body_bytes = 8 * 1024 * 1024
        self._by_key: dict[str, str] = {}
        self._requests: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"relay": self}))
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """Forget all faults, requests and invocations."""
        for kept in (self.faults, self.seen, self.invocations, self._by_key, self._requests):
            kept.clear()

    def answer(self, seen: Seen) -> Reply:
        if seen.headers.get("authorization") != f"Bearer {KEY}":
            return problem(401, "unauthenticated")
        if len(seen.body) > self.max_body_bytes:
            return problem(413, "too_large")
        routes = {
            r"/v1/webhooks/([^/]+)/trigger": self._trigger,
            r"/v1/webhooks": self._list,
            r"/v1/webhooks/([^/]+)": self._describe,
            r"/v1/invocations/([^/]+)": self._look,
            r"/v1/triggers": self._bulk,
        }
        for path, respond in routes.items():
            if match := re.fullmatch(path, seen.path):
                return respond(seen, *match.groups())
        return problem(404, "not_found")

    def _trigger(self, seen: Seen, webhook_id: str) -> Reply:
        if webhook_id not in self.webhooks:
            return problem(404, "webhook_not_registered", referenceId=str(uuid.uuid4()))
        reference_id = self._accept(webhook_id, seen.headers.get("idempotency-key"))
        record = self._wait(seen, reference_id)
        if record["result"] is not None:
            return Reply(200, {"referenceId": reference_id, **record["result"]})
        return Reply(
            202,
            {"referenceId": reference_id, "state": record["state"]},
            {"Location": f"/v1/invocations/{reference_id}", "Retry-After": "1"},
        )

    def _list(self, _seen: Seen) -> Reply:
        return Reply(200, {"webhooks": [self._description(name) for name in self.webhooks]})

    def _describe(self, _seen: Seen, webhook_id: str) -> Reply:
        if webhook_id not in self.webhooks:
            return problem(404, "webhook_not_registered")
        return Reply(200, self._description(webhook_id))

    def _description(self, webhook_id: str) -> dict:
        empty = {"description": None, "dataSchema": None, "headers": [], "queryParams": []}
        webhook = self.webhooks[webhook_id]
        payload = {"payload": webhook.payload} if webhook.payload else {}
        return {"id": webhook_id, **empty, "payloadEncoding": webhook.payload_encoding, **payload}

    def _look(self, seen: Seen, reference_id: str) -> Reply:
        if reference_id not in self.invocations:
            return problem(404, "not_found")
        return Reply(200, self._wait(seen, reference_id))

    def _bulk(self, seen: Seen) -> Reply:
        if len(seen.json) > 1000:
            return problem(413, "too_large")
        results = []
        for item in seen.json:
            if item["webhookId"] not in self.webhooks:
                results.append({"problem": problem(404, "webhook_not_registered").document})
            else:
                reference_id = self._accept(item["webhookId"], item.get("idempotencyKey"))
                results.append({"referenceId": reference_id, "state": "queued"})
        accepted = sum("referenceId" in result for result in results)
        return Reply(202, {"accepted": accepted, "rejected": len(results) - accepted, "results": results})

    def _accept(self, webhook_id: str, key: str | None) -> str:
        with self._lock:
            if key in self._by_key:
                return self._by_key[key]
            reference_id = str(uuid.uuid4())
            webhook = self.webhooks[webhook_id]
            self.invocations[reference_id] = (time.monotonic() + webhook.seconds, webhook)
            if key is not None:
                self._by_key[key] = reference_id
            return reference_id

    def _wait(self, seen: Seen, reference_id: str) -> dict:
        ready, webhook = self.invocations[reference_id]
        self._requests[reference_id] += 1
        wait = re.fullmatch(r"wait=(\d+)", seen.headers.get("prefer", ""))
        if wait and self.room_to_wait:
            time.sleep(max(0, min(ready - time.monotonic(), int(wait[1]))))
        is_over = time.monotonic() >= ready and self._requests[reference_id] >= webhook.at_request
        state = webhook.state if is_over else "sending"
        result = None
        if state in {"delivered", "unreachable", "interrupted"}:
            error = webhook.status >= 400 or webhook.status == 0
            result = {"status": webhook.status, "data": webhook.data, "error": error}
        attempts = [{"number": 1, "outcome": webhook.outcome}] if state in FINISHED else []
        return {"referenceId": reference_id, "revision": 1, "state": state, "attempts": attempts, "result": result}


def problem(status: int, code: str, **members: object) -> Reply:
    document = {"type": "about:blank", "title": code, "status": status, "code": code, **members}
    return Reply(status, document, {"Content-Type": "application/problem+json"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Pass over a client that has gone: its error would be printed into whatever another test captures by then."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # it writes an answer in two pieces: the second would wait for an acknowledgement
    relay: FakeRelay

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, self.path, headers, body)
        self.relay.seen.append(seen)
        fault = self.relay.faults.popleft() if self.relay.faults else None
        if isinstance(fault, HangUp):
            if fault.accept:
                self.relay.answer(seen)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if isinstance(fault, Silence):
            time.sleep(fault.seconds)
        if isinstance(fault, Drip):
            self._drip(self.relay.answer(seen), fault.chunked)
            return
        self._send(fault if isinstance(fault, Reply) else self.relay.answer(seen))

    do_GET = do_POST  # noqa: N815 - the name that http.server calls

    def _send(self, reply: Reply) -> None:
        body = json.dumps(reply.document).encode() if reply.raw is None else reply.raw
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drip(self, reply: Reply, chunked: bool) -> None:
        body = b" " * 600 + json.dumps(reply.document).encode()
        self.send_response(reply.status)
        name, value = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))
        self.send_header(name, value)
        self.end_headers()
        for part in (*(body[n : n + 1] for n in range(600)), body[600:]):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            time.sleep(0.1)
        self.wfile.write(b"0\r\n\r\n" if chunked else b"")

    def log_message(self, *_):
        pass
