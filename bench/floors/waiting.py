"""Two applications whose callers wait, like those of awaited calls, and do nothing else.

Those who come within four milliseconds of the first are answered together. `application` (WSGI) has a thread for each
caller, `Waiting` (RSGI, Granian's own interface) an event loop for all of them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ANSWER: Final = b'{"referenceId":"none","status":200,"data":{},"error":false}'
ANSWERED_AFTER_S: Final = 0.004

_callers: SimpleQueue[SimpleQueue[bytes]] = SimpleQueue()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    answers: SimpleQueue[bytes] = SimpleQueue()
    _callers.put(answers)
    answer = answers.get(timeout=30)
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]


def _answer_all() -> None:
    while True:
        group = [_callers.get()]
        time.sleep(ANSWERED_AFTER_S)
        while not _callers.empty():
            group.append(_callers.get())
        for answers in group:
            answers.put(ANSWER)


threading.Thread(target=_answer_all, daemon=True).start()


class Waiting:
    """Answers RSGI requests."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[bytes]] = []

    async def __rsgi__(self, _scope: Any, protocol: Any) -> None:
        await protocol()
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_later(ANSWERED_AFTER_S, self._answer_all)
        answer: asyncio.Future[bytes] = loop.create_future()
        self._waiting.append(answer)
        protocol.response_bytes(200, [("Content-Type", "application/json")], await answer)

    def _answer_all(self) -> None:
        group, self._waiting = self._waiting, []
        for answer in group:
            answer.set_result(ANSWER)


waiting: Final = Waiting()
