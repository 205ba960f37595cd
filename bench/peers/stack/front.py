"""Takes triggers over WSGI, a thread each; writes those that arrive together with one script; answers when they end."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from bench.peers.stack.app import hint
from bench.peers.stack.connection import Connection
from bench.peers.stack.duties import check, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ACCEPT = """
local ids = {}
for at = 3, #ARGV, 3 do
  redis.call('HSET', 'call:' .. ARGV[at], 'state', 'queued', 'webhook', ARGV[at + 1], 'payload', ARGV[at + 2],
    'createdAt', ARGV[1])
  ids[#ids + 1] = ARGV[at]
end
if redis.call('RPUSH', 'waiting', unpack(ids)) == #ids then redis.call('LPUSH', 'lane', ARGV[2]) end
return 1
"""


class _Caller:
    """A thread that waits until its call has ended; the lock is free from then on."""

    __slots__ = ("end", "ended")

    def __init__(self) -> None:
        self.ended = threading.Lock()
        self.ended.acquire()
        self.end: tuple[int, str] = (0, "")


class Front:
    """What the threads of a process share."""

    def __init__(self) -> None:
        self._server, self._ends = Connection(), Connection()
        self._sha, self._hint = self._server.call("SCRIPT", "LOAD", ACCEPT), hint()
        self._gathered: deque[Any] = deque()
        self._writing = threading.Lock()
        self._callers: dict[str, _Caller] = {}
        self._ends.send("SUBSCRIBE", "ends")
        threading.Thread(target=self._hear, daemon=True).start()

    def call(self, asked: Any) -> Any:
        check(asked["data"])
        ref, caller = str(uuid4()), _Caller()
        self._callers[ref] = caller
        self._gathered.append((ref, asked["webhook"], seal(b"payload " + ref.encode(), orjson.dumps(asked["data"]))))
        self._write()
        caller.ended.acquire()
        status, result = caller.end
        data = orjson.loads(unseal(b"result " + ref.encode(), bytes.fromhex(result)))
        return {"referenceId": ref, "status": status, "data": data, "error": status >= 400}

    def _write(self) -> None:
        """Write what was gathered, unless another thread does; it then also writes what has come meanwhile."""
        while self._gathered and self._writing.acquire(blocking=False):
            try:
                group: list[Any] = []
                while self._gathered:
                    group += self._gathered.popleft()
                self._server.call("EVALSHA", self._sha, 0, int(time.time() * 1000), self._hint, *group)
            finally:
                self._writing.release()

    def _hear(self) -> None:
        while True:
            message = self._ends.read()
            if message[0] == b"message":
                for ref, *end in orjson.loads(message[2]):
                    caller = self._callers.pop(ref)
                    caller.end = end
                    caller.ended.release()


front = Front()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = orjson.dumps(front.call(orjson.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))))
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
