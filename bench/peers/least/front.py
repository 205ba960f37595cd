"""Takes triggers over HTTP; writes those that arrive together with one script, and answers when their ends come."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any
from uuid import uuid4

import httptools
import orjson
import uvloop

from bench.peers.least.connection import Connection, Http, connect
from bench.peers.least.duties import check, seal, unseal

ACCEPT = """
local ids = {}
for at = 2, #ARGV, 3 do
  redis.call('HSET', 'call:' .. ARGV[at], 'state', 'queued', 'webhook', ARGV[at + 1], 'payload', ARGV[at + 2],
    'createdAt', ARGV[1])
  ids[#ids + 1] = ARGV[at]
end
if redis.call('RPUSH', 'waiting', unpack(ids)) == #ids then redis.call('LPUSH', 'wake', '1') end
return 1
"""


class Front:
    """What the connections of a process share."""

    def __init__(self, server: Connection, sha: bytes) -> None:
        self._server, self._sha = server, sha
        self._gathered: list[Any] = []
        self._is_writing = False
        self._waiting: dict[bytes, Caller] = {}

    def take(self, caller: Caller, asked: Any) -> None:
        check(asked["data"])
        ref = str(uuid4()).encode()
        self._waiting[ref] = caller
        self._gathered += (ref, asked["webhook"], seal(b"payload " + ref, orjson.dumps(asked["data"])))
        if not self._is_writing:
            self._is_writing = True
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self, _reply: Any = None) -> None:
        group, self._gathered = self._gathered, []
        self._is_writing = bool(group)
        if group:  # what arrives while it is under way goes with the next one
            self._server.send(self._write, "EVALSHA", self._sha, 0, int(time.time() * 1000), *group)

    def hear(self, message: Any) -> None:
        if message[0] != b"message":
            return
        for ref, status, result in orjson.loads(message[2]):
            if caller := self._waiting.pop(ref.encode(), None):
                data = orjson.loads(unseal(b"result " + ref.encode(), bytes.fromhex(result)))
                caller.answer({"referenceId": ref, "status": status, "data": data, "error": status >= 400})


class Caller(Http):
    """A caller's connection."""

    parser_of = httptools.HttpRequestParser

    def __init__(self, front: Front) -> None:
        self._front = front

    def on_body_complete(self, body: bytes) -> None:
        self._front.take(self, orjson.loads(body))

    def answer(self, value: Any) -> None:
        body = orjson.dumps(value)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)


async def main() -> None:
    server, ends = await connect(), await connect()
    front = Front(server, await server.call("SCRIPT", "LOAD", ACCEPT))
    ends.subscribe("ends", front.hear)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Caller(front), "127.0.0.1", int(os.environ["BENCH_PORT"]))
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
