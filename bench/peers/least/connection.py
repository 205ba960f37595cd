"""A connection to the server that sends commands as they come and calls back with each reply, in order."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import hiredis

if TYPE_CHECKING:
    from collections.abc import Callable


class Connection(asyncio.Protocol):
    """Speaks RESP2."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._waiting: deque[Callable[[Any], object]] = deque()
        self._on_message: Callable[[Any], object] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            if isinstance(reply, Exception):
                raise SystemExit(str(reply))
            (self._on_message or self._waiting.popleft())(reply)

    def send(self, on_reply: Callable[[Any], object], *command: Any) -> None:
        self._waiting.append(on_reply)
        self._transport.write(hiredis.pack_command(command))

    def call(self, *command: Any) -> asyncio.Future[Any]:
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send(reply.set_result, *command)
        return reply

    def subscribe(self, channel: str, on_message: Callable[[Any], object]) -> None:
        self._on_message = on_message
        self._transport.write(hiredis.pack_command(("SUBSCRIBE", channel)))


class Http(asyncio.Protocol):
    """One side of a kept HTTP connection: parses the other's messages, and hands each body to `on_body_complete`."""

    parser_of: Callable[[Any], Any]

    def connection_made(self, transport: Any) -> None:
        self._transport, self._parser, self._body = transport, self.parser_of(self), b""

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        self.on_body_complete(body)

    def on_body_complete(self, body: bytes) -> None:
        raise NotImplementedError


async def connect() -> Connection:
    port = urlsplit(os.environ["BENCH_BROKER_URL"]).port
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection
