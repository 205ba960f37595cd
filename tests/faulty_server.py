"""A proxy in front of a Redis server that passes on every request and reply, except for one request that fails.

It parses and counts requests; commands that the client sent at once are one request.
"""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import hiredis

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPBACK = "127.0.0.1"
_PIECE = 1 << 20


class Fault(StrEnum):
    """What happens to one request instead of its normal reply."""

    REFUSED = "refused: it was not done"
    DONE_AND_REFUSED = "done, and yet answered with an error"
    LOST = "done, the reply was lost, and the server is away from then on"


@dataclass
class FaultyServer:
    """The running proxy, and its count of requests. Request ``at`` (from 0) gets the fault; None: no request does."""

    to: tuple[str, int]
    port: int
    fault: Fault = Fault.LOST
    error: bytes = b"ERR something that no server has said yet"
    at: int | None = None
    requests: int = 0
    live: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def is_away(self) -> bool:
        return self.fault is Fault.LOST and self.at is not None and self.requests > self.at

    def serve(self, client: socket.socket) -> None:
        if self.is_away:
            client.close()
            return
        with client, socket.create_connection(self.to) as server:
            asked, told = hiredis.Reader(), hiredis.Reader()
            while piece := _received(client):
                asked.feed(piece)
                count = _counted(asked)
                if not count:
                    server.sendall(piece)
                    continue
                number, self.requests = self.requests, self.requests + 1
                refused = number == self.at and self.fault is Fault.REFUSED
                reply = b"" if refused else self._asked(server, piece, told, count)
                if number == self.at and self.fault is Fault.LOST:
                    return
                client.sendall(b"-%s\r\n" % self.error * count if number == self.at else reply)

    def _asked(self, server: socket.socket, piece: bytes, told: hiredis.Reader, count: int) -> bytes:
        server.sendall(piece)
        reply = b""
        while count > 0:
            more = server.recv(_PIECE)
            assert more, "the server went away"
            reply += more
            told.feed(more)
            count -= _counted(told)
        return reply


def _received(client: socket.socket) -> bytes:
    try:
        return client.recv(_PIECE)
    except ConnectionError:
        return b""


def _counted(reader: hiredis.Reader) -> int:
    count = 0
    while reader.gets() is not False:
        count += 1
    return count


@contextmanager
def faulty_server(port: int) -> Iterator[FaultyServer]:
    """Run the proxy in front of the server at this loopback port."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        server = FaultyServer((LOOPBACK, port), listener.getsockname()[1])

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=server.serve, args=(client,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
