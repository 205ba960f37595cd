"""The endpoint that every contender calls: a process that answers `{"ok":true}` and counts receipts by id.

A bare epoll loop, because the endpoint shares the machine with the contenders: it must never limit any, and its cost
must be small compared with theirs. With ``--delay-s`` it answers late, at the same small cost. With ``--tls-port`` it
also serves TLS there, with ``--certificate`` (certificate and key, PEM).

    POST /anything            one receipt of the id in `webhook-id`; a path that ends with `slow` is answered 0.2 s
                              later, one that ends with `failing` with 500
    GET  /_bench/progress     {"receipts", "most_ms", "first_s", "last_s"}
    GET  /_bench/lags         {"receipts", "p50_ms", "p99_ms", "most_ms", "early_ms", "late_ms"}
    GET  /_bench/receipts     {"receipts", "distinct", "doubled", "unnamed", "digest", "first_s", "last_s", "most_open",
                               "open_s", "answered_s", "handshakes"}
    GET  /_bench/times        {"id": how many times it was received}
    GET  /_bench/reset        forgets all receipts

Times are seconds of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import selectors
import socket
import ssl
import time
from contextlib import suppress
from statistics import median
from typing import Final

from bench.readings import percentile
from bench.receipts import digest_of
from bench.wire import Message, UnreadableMessageError, stamped_s, take_message

ANSWER: Final = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"ok":true}'
FAILURE: Final = (
    b'HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{"ok":false}'
)
SLOW_S: Final = 0.2
BACKLOG: Final = 1024
READ_BYTES: Final = 65_536
HANDSHAKE_S: Final = 10.0


class Ledger:
    """The receipts since the last reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._times: dict[bytes, int] = {}
        self._unnamed = 0
        self._first_s: float | None = None
        self._last_s: float | None = None
        self._most_open = 0
        self._open_s = 0.0
        self._answered_s: float | None = None
        self._lags_ms: list[float] = []
        self._most_ms = 0.0
        self._count = 0
        self.handshakes = 0  # connections made to the TLS port

    def note(self, call_id: bytes | None, still_open: int = 0, sent_s: float | None = None) -> None:
        """Count a receipt; ``still_open`` says how many calls are unanswered, ``sent_s`` when this one was sent."""
        self._count += 1
        self._most_open = max(self._most_open, still_open + 1)
        self._last_s = time.monotonic()
        if self._first_s is None:
            self._first_s = self._last_s
        if sent_s is not None:
            lag_ms = (self._last_s - sent_s) * 1000
            self._lags_ms.append(lag_ms)
            self._most_ms = max(self._most_ms, lag_ms)
        if call_id is None:
            self._unnamed += 1
        else:
            self._times[call_id] = self._times.get(call_id, 0) + 1

    def answered(self, received_s: float) -> None:
        """Count an answer to the call that was received at that moment."""
        self._answered_s = time.monotonic()
        self._open_s += self._answered_s - received_s

    def progress(self) -> bytes:
        told = {"receipts": self._count, "most_ms": self._most_ms, "first_s": self._first_s, "last_s": self._last_s}
        return json.dumps(told).encode()

    def lags(self) -> bytes:
        lags, third = self._lags_ms, len(self._lags_ms) // 3
        return json.dumps(
            {
                "receipts": len(lags),
                "p50_ms": percentile(lags, 50),
                "p99_ms": percentile(lags, 99),
                "most_ms": self._most_ms,
                "early_ms": median(lags[:third] or lags or (0.0,)),
                "late_ms": median(lags[-third:] or (0.0,)),
            }
        ).encode()

    def times(self) -> bytes:
        return json.dumps({call_id.decode(): count for call_id, count in self._times.items()}).encode()

    def summary(self) -> bytes:
        times = self._times.values()
        return json.dumps(
            {
                "receipts": sum(times) + self._unnamed,
                "distinct": len(self._times),
                "doubled": sum(1 for count in times if count > 1),
                "unnamed": self._unnamed,
                "digest": digest_of(self._times),
                "first_s": self._first_s,
                "last_s": self._last_s,
                "most_open": self._most_open,
                "open_s": self._open_s,
                "answered_s": self._answered_s,
                "handshakes": self.handshakes,
            }
        ).encode()


class EndpointServer:
    """Serves one listening socket until it is killed; answers calls after ``delay_s``."""

    def __init__(self, listener: socket.socket, delay_s: float = 0.0, secure: Secure | None = None) -> None:
        self._ledger = Ledger()
        self._listener = listener
        self._delay_s = delay_s
        # A heap of answers: when each is due, its order, when its call came, its connection, its bytes.
        self._late: list[tuple[float, int, float, socket.socket, bytes]] = []
        self._order = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._secure = secure
        self._selector.register(listener, selectors.EVENT_READ)
        if secure:
            self._selector.register(secure.listener, selectors.EVENT_READ)

    def serve(self) -> None:
        while True:
            timeout_s = max(0.0, self._late[0][0] - time.monotonic()) if self._late else None
            for key, _ in self._selector.select(timeout_s):
                if key.data is None:
                    self._accept(key.fileobj)  # type: ignore[arg-type]
                else:
                    self._serve_connection(key.fileobj, key.data)  # type: ignore[arg-type]
            while self._late and self._late[0][0] <= time.monotonic():
                _, _, received_s, connection, answer = heapq.heappop(self._late)
                self._ledger.answered(received_s)
                with suppress(OSError):  # the caller has closed the connection meanwhile
                    connection.sendall(answer)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        if self._secure and listener is self._secure.listener:
            self._ledger.handshakes += 1
            try:
                connection = self._secure.shake_hands(connection)
            except OSError:
                return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connection, selectors.EVENT_READ, bytearray())

    def _serve_connection(self, connection: socket.socket, buffer: bytearray) -> None:
        try:
            received = connection.recv(READ_BYTES)
            if not received:
                raise ConnectionResetError
            buffer += received
            while (request := take_message(buffer)) is not None:
                self._serve_request(connection, request)
        except ssl.SSLWantReadError:
            return
        except (OSError, UnreadableMessageError):
            self._selector.unregister(connection)
            connection.close()

    def _serve_request(self, connection: socket.socket, request: Message) -> None:
        if request.head.startswith(b"GET /_bench/"):
            connection.setblocking(True)  # the receipts of many calls are more than a socket takes at once
            connection.sendall(self._control(request))
            connection.setblocking(False)
            return
        self._ledger.note(request.field(b"webhook-id"), len(self._late), stamped_s(request.body))
        path = request.start.split(b" ")[1]
        answer = FAILURE if path.endswith(b"/failing") else ANSWER
        delay_s = SLOW_S if path.endswith(b"/slow") else self._delay_s
        if delay_s:
            now_s = time.monotonic()
            heapq.heappush(self._late, (now_s + delay_s, next(self._order), now_s, connection, answer))
        else:
            connection.sendall(answer)

    def _control(self, request: Message) -> bytes:
        path = request.start.split(b" ")[1]
        if path == b"/_bench/reset":
            self._ledger.reset()
        ledger = self._ledger
        told = {b"/_bench/progress": ledger.progress, b"/_bench/lags": ledger.lags, b"/_bench/times": ledger.times}
        body = told.get(path, ledger.summary)()
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


class Secure:
    """A listening socket whose connections are TLS."""

    def __init__(self, listener: socket.socket, certificate: str) -> None:
        self.listener = listener
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)

    def shake_hands(self, connection: socket.socket) -> socket.socket:
        """Make the handshake and return the connection; nothing else is served meanwhile."""
        connection.settimeout(HANDSHAKE_S)
        return self._context.wrap_socket(connection, server_side=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--delay-s", type=float, default=0.0)
    arguments.add_argument("--tls-port", type=int)
    arguments.add_argument("--certificate")
    options = arguments.parse_args()
    with socket.create_server(("127.0.0.1", options.port), backlog=BACKLOG) as listener:
        if options.tls_port is None:
            EndpointServer(listener, options.delay_s).serve()
        with socket.create_server(("127.0.0.1", options.tls_port), backlog=BACKLOG) as secured:
            EndpointServer(listener, options.delay_s, Secure(secured, options.certificate)).serve()


if __name__ == "__main__":
    main()
