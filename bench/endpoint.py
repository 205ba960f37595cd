"""The endpoint that every contender calls: a process that answers `{"ok":true}` and counts receipts by id.

A bare epoll loop, because the endpoint shares the machine with what is measured: it must never be what a
contender waits for, and what it costs must be small beside what they cost.

    POST /anything            one receipt of the id in `webhook-id`
    GET  /_bench/receipts     {"receipts", "distinct", "doubled", "unnamed", "digest", "first_s", "last_s"}
    GET  /_bench/reset        forgets all receipts

Times are seconds of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import time
from typing import Final

from bench.receipts import digest_of
from bench.wire import Message, UnreadableMessageError, take_message

ANSWER: Final = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"ok":true}'
BACKLOG: Final = 1024
READ_BYTES: Final = 65_536


class Ledger:
    """What was received since the last reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._times: dict[bytes, int] = {}
        self._unnamed = 0
        self._first_s: float | None = None
        self._last_s: float | None = None

    def note(self, call_id: bytes | None) -> None:
        self._last_s = time.monotonic()
        if self._first_s is None:
            self._first_s = self._last_s
        if call_id is None:
            self._unnamed += 1
        else:
            self._times[call_id] = self._times.get(call_id, 0) + 1

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
            }
        ).encode()


class EndpointServer:
    """Serves one listening socket until it is killed."""

    def __init__(self, listener: socket.socket) -> None:
        self._ledger = Ledger()
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)

    def serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._accept()
                else:
                    self._serve_connection(key.fileobj, key.data)  # type: ignore[arg-type]

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
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
                connection.sendall(self._answer(request))
        except (OSError, UnreadableMessageError):
            self._selector.unregister(connection)
            connection.close()

    def _answer(self, request: Message) -> bytes:
        if not request.head.startswith(b"GET /_bench/"):
            self._ledger.note(request.field(b"webhook-id"))
            return ANSWER
        if request.start.split(b" ")[1] == b"/_bench/reset":
            self._ledger.reset()
        body = self._ledger.summary()
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    port = arguments.parse_args().port
    with socket.create_server(("127.0.0.1", port), backlog=BACKLOG) as listener:
        EndpointServer(listener).serve()


if __name__ == "__main__":
    main()
