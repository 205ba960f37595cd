"""A connection to the server, for one thread or greenlet at a time."""

from __future__ import annotations

import os
import socket
from typing import Any
from urllib.parse import urlsplit

import hiredis

CHUNK = 65_536


class Connection:
    """Speaks RESP2."""

    def __init__(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", urlsplit(os.environ["BENCH_BROKER_URL"]).port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def call(self, *command: Any) -> Any:
        self.send(*command)
        return self.read()

    def send(self, *command: Any) -> None:
        self._socket.sendall(hiredis.pack_command(command))

    def read(self) -> Any:
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(CHUNK))
        if isinstance(reply, Exception):
            raise reply
        return reply
