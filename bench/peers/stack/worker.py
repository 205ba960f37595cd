"""Takes, claims and sends calls, a greenlet each, and writes the ends of those answered together with one script."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import gevent
import httptools
import orjson

from bench.peers.stack.connection import CHUNK, Connection
from bench.peers.stack.duties import check, masker, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 128
TAKE = """
local rows = {}
for _, id in ipairs(redis.call('LPOP', 'waiting', ARGV[1]) or {}) do
  local f = redis.call('HMGET', 'call:' .. id, 'webhook', 'payload')
  rows[#rows + 1], rows[#rows + 2], rows[#rows + 3] = id, f[1], f[2]
end
return rows
"""
CLAIM = """
local active = {}
for at = 2, #ARGV do
  redis.call('HSET', 'call:' .. ARGV[at], 'state', 'sending')
  active[#active + 1], active[#active + 2] = ARGV[1], ARGV[at]
end
redis.call('ZADD', 'active', unpack(active))
return 1
"""
SETTLE = """
local ids, ended, notices = {}, {}, {}
for at = 2, #ARGV, 6 do
  local id, webhook, status, result = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 4]
  redis.call('HSET', 'call:' .. id, 'state', 'delivered', 'status', status, 'attempt', ARGV[at + 3], 'result', result)
  ids[#ids + 1], ended[#ended + 1], ended[#ended + 2] = id, ARGV[1], id
  notices[#notices + 1] = '["' .. id .. '",' .. status .. ',"' .. ARGV[at + 5] .. '"]'
end
redis.call('ZREM', 'active', unpack(ids))
redis.call('ZADD', 'webhook:' .. ARGV[3], unpack(ended))
redis.call('ZADD', 'outcome:' .. ARGV[3] .. ':answered', unpack(ended))
redis.call('PUBLISH', 'ends', '[' .. table.concat(notices, ',') .. ']')
return 1
"""


class Exchange:
    """A kept connection to the endpoint."""

    def __init__(self, address: Any) -> None:
        self._socket = socket.create_connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser = httptools.HttpResponseParser(self)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._complete = True

    def ask(self, request: bytes) -> tuple[int, bytes]:
        self._body, self._complete = b"", False
        self._socket.sendall(request)
        while not self._complete:
            self._parser.feed_data(self._socket.recv(CHUNK))
        return self._parser.get_status_code(), self._body


class Worker:
    """What the greenlets of a process share."""

    def __init__(self) -> None:
        endpoint = urlsplit(os.environ["BENCH_ENDPOINT_URL"])
        self._address = endpoint.hostname, endpoint.port
        secret = os.environ["BENCH_SECRET"]
        self._mask = masker([secret, f"{endpoint.scheme}://{endpoint.netloc}/hooks/bench", endpoint.netloc])
        lines = (f"host: {endpoint.netloc}", f"authorization: {secret}", "content-type: application/json", "")
        self._head = "\r\n".join(lines).encode()
        self._servers: list[Connection] = []
        self._exchanges: list[Exchange] = []
        self._ended: list[Any] = []
        self._is_writing = False
        with self._server() as server:
            self._take, self._claim, self._settle = (
                server.call("SCRIPT", "LOAD", each) for each in (TAKE, CLAIM, SETTLE)
            )

    @contextmanager
    def _server(self) -> Iterator[Connection]:
        server = self._servers.pop() if self._servers else Connection()
        yield server
        self._servers.append(server)

    def run(self) -> None:
        taken = MOST
        while taken == MOST:
            with self._server() as server:
                rows = server.call("EVALSHA", self._take, 0, MOST)
                calls = [self._prepared(*rows[at : at + 3]) for at in range(0, len(rows), 3)]
                if calls:
                    server.call("EVALSHA", self._claim, 0, int(time.time() * 1000), *rows[::3])
            for call in calls:
                gevent.spawn(self._carry_out, *call)
            taken = len(calls)

    def _prepared(self, ref: bytes, webhook: bytes, payload: bytes) -> tuple[bytes, bytes, bytes]:
        text = unseal(b"payload " + ref, payload)
        check(orjson.loads(text))
        first = b"POST /hooks/%s HTTP/1.1\r\n%s" % (webhook, self._head)
        return ref, webhook, b"%swebhook-id: %s\r\ncontent-length: %d\r\n\r\n%s" % (first, ref, len(text), text)

    def _carry_out(self, ref: bytes, webhook: bytes, request: bytes) -> None:
        began_s = time.time()
        exchange = self._exchanges.pop() if self._exchanges else Exchange(self._address)
        status, body = exchange.ask(request)
        self._exchanges.append(exchange)
        result = seal(b"result " + ref, orjson.dumps(self._mask(body.decode())))
        attempt = b'[%d,%d,%d,"answered"]' % (began_s * 1000, (time.time() - began_s) * 1000, status)
        self._ended += (ref, webhook, status, attempt, result, result.hex())
        if not self._is_writing:
            self._write()

    def _write(self) -> None:
        self._is_writing = True
        with self._server() as server:
            while self._ended:
                group, self._ended = self._ended, []
                server.call("EVALSHA", self._settle, 0, int(time.time() * 1000), *group)
        self._is_writing = False
