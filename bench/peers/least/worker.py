"""Takes calls, sends them over kept connections, and writes the ends of those answered together with one script."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any
from urllib.parse import urlsplit

import httptools
import orjson
import uvloop

from bench.peers.least.connection import Http, connect
from bench.peers.least.duties import check, masker, seal, unseal

MOST = 128
TAKE = """
local ids, rows, active = redis.call('LPOP', 'waiting', ARGV[2]), {}, {}
if not ids then return rows end
for _, id in ipairs(ids) do
  local f = redis.call('HMGET', 'call:' .. id, 'webhook', 'payload')
  redis.call('HSET', 'call:' .. id, 'state', 'sending')
  active[#active + 1], active[#active + 2] = ARGV[1], id
  rows[#rows + 1], rows[#rows + 2], rows[#rows + 3] = id, f[1], f[2]
end
redis.call('ZADD', 'active', unpack(active))
return rows
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


class Exchange(Http):
    """A kept connection to the endpoint."""

    parser_of = httptools.HttpResponseParser

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def on_body_complete(self, body: bytes) -> None:
        self._worker.end(self, self._parser.get_status_code(), body)

    def send(self, ref: bytes, webhook: bytes, head: bytes, text: bytes) -> None:
        self.ref, self.webhook, self.began_s = ref, webhook, time.time()
        first = b"POST /hooks/%s HTTP/1.1\r\n%s" % (webhook, head)
        self._transport.write(b"%swebhook-id: %s\r\ncontent-length: %d\r\n\r\n%s" % (first, ref, len(text), text))


class Worker:
    """Takes, sends and settles."""

    def __init__(self) -> None:
        endpoint = urlsplit(os.environ["BENCH_ENDPOINT_URL"])
        self._address = endpoint.hostname, endpoint.port
        secret = os.environ["BENCH_SECRET"]
        self._mask = masker([secret, f"{endpoint.scheme}://{endpoint.netloc}/hooks/bench", endpoint.netloc])
        lines = (f"host: {endpoint.netloc}", f"authorization: {secret}", "content-type: application/json", "")
        self._head = "\r\n".join(lines).encode()
        self._free: list[Exchange] = []
        self._ended: list[Any] = []
        self._is_writing = False

    async def run(self) -> None:
        self._server, waking = await connect(), await connect()
        take = await self._server.call("SCRIPT", "LOAD", TAKE)
        self._settle = await self._server.call("SCRIPT", "LOAD", SETTLE)
        loop = asyncio.get_running_loop()
        while True:
            rows = await self._server.call("EVALSHA", take, 0, int(time.time() * 1000), MOST)
            if not rows:
                await waking.call("BLPOP", "wake", 5)
            for at in range(0, len(rows), 3):
                ref, webhook, payload = rows[at : at + 3]
                text = unseal(b"payload " + ref, payload)
                check(orjson.loads(text))
                if not self._free:
                    _, exchange = await loop.create_connection(lambda: Exchange(self), *self._address)
                    self._free.append(exchange)
                self._free.pop().send(ref, webhook, self._head, text)

    def end(self, exchange: Exchange, status: int, body: bytes) -> None:
        self._free.append(exchange)
        ref, now_s = exchange.ref, time.time()
        result = seal(b"result " + ref, orjson.dumps(self._mask(body.decode())))
        attempt = b'[%d,%d,%d,"answered"]' % (exchange.began_s * 1000, (now_s - exchange.began_s) * 1000, status)
        self._ended += (ref, exchange.webhook, status, attempt, result, result.hex())
        if not self._is_writing:
            self._is_writing = True
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self, _reply: Any = None) -> None:
        group, self._ended = self._ended, []
        self._is_writing = bool(group)
        if group:
            self._server.send(self._write, "EVALSHA", self._settle, 0, int(time.time() * 1000), *group)


if __name__ == "__main__":
    uvloop.run(Worker().run())
