"""The endpoint of a run: counts requests by `webhook-id`, and misbehaves. `python -m tests.chaos.receiver PORT`.

A request counts as received as soon as its head has arrived, whatever happens to the connection then.

    POST /_mood     {"trouble": 0.2, "delay_s": 0.05}: the share of requests that get no plain answer
    GET  /_receipts {reference id: [[ms since the epoch, what was done], ...]}
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
import time
from collections import defaultdict

OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'
CLOSING = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)


def status_answer(status: int, *fields: str) -> bytes:
    head = "".join(f"{field}\r\n" for field in fields)
    return f"HTTP/1.1 {status} No\r\n{head}Content-Length: 2\r\n\r\n{{}}".encode()


#: Ways to misbehave: what is sent of an answer; where the name says so, the connection is then reset or closed.
ANSWERS = {
    "503": status_answer(503),
    "503 later": status_answer(503, "Retry-After: 1"),
    "429": status_answer(429),
    "500": status_answer(500),
    "404": status_answer(404),
    "reset before the body": b"",
    "reset after the request": b"",
    "reset after the status line": OK[:17],
    "reset within the head": OK[:40],
    "reset within the body": OK[:-4],
    "closed after the request": b"",
    "closed within the body": OK[:-4],
    "reset after the answer": OK,  # the next request on this connection fails
    "closed after the answer": OK,
    "slow": OK,
    "too slow": OK,
}
SLOW_S = (0.2, 0.8)
TOO_SLOW_S = (2.5, 4.0)  # longer than every timeout


class Receiver:
    """Serves all connections of the process."""

    def __init__(self, seed: int) -> None:
        self.receipts: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        self.trouble = 0.0
        self.delay_s = 0.0
        self.random = random.Random(seed)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        _, path, _ = head[0].split(" ", 2)
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        if path.startswith("/_"):
            return await self._command(reader, writer, path, int(fields.get("content-length", 0)))
        what = self._choose(path)
        self.receipts[fields.get("webhook-id", "")].append((int(time.time() * 1000), what))
        if what == "reset before the body":
            return _reset(writer)
        await reader.readexactly(int(fields.get("content-length", 0)))
        return await self._answer(writer, what, path)

    def _choose(self, path: str) -> str:
        if self.random.random() < self.trouble:
            return self.random.choice(list(ANSWERS))
        return "slow" if path == "/slow" and self.random.random() < 0.5 else "ok"

    async def _answer(self, writer: asyncio.StreamWriter, what: str, path: str) -> bool:
        if what in {"slow", "too slow"}:
            await asyncio.sleep(self.random.uniform(*(SLOW_S if what == "slow" else TOO_SLOW_S)))
        elif self.delay_s:
            await asyncio.sleep(self.random.uniform(0, 2 * self.delay_s))
        writer.write(ANSWERS.get(what, OK))
        await writer.drain()
        if what.startswith("reset"):
            return _reset(writer)
        return not what.startswith("closed")

    async def _command(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, size: int) -> bool:
        body = await reader.readexactly(size)
        answer = b"{}"
        if path == "/_mood":
            mood = json.loads(body)
            self.trouble, self.delay_s = mood["trouble"], mood["delay_s"]
        else:
            answer = json.dumps(self.receipts).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer))
        writer.write(answer)
        await writer.drain()
        return True


def _reset(writer: asyncio.StreamWriter) -> bool:
    """Close the connection with RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


async def main(port: int, seed: int) -> None:
    receiver = Receiver(seed)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
