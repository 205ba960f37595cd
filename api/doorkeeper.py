"""Frees threads and connections of the API that slow clients hold and others need, in one thread of each process.

Granian reads a body in one of the application's threads, without a deadline, and stops taking connections at a maximum
number (ADR 0024). The doorkeeper answers a request with a slow body in place of the thread that waits for the body, and
then shuts its connection for reading, which frees the thread. If there are too many connections, it closes those that
have been idle longest.
"""

from __future__ import annotations

import secrets
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from api.connections import connections, count_descriptors
from api.problems import MEDIA_TYPE, problem_of
from relay.telemetry.log import fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from api.body_reads import BodyRead, BodyReads

_TICK_S: Final = 0.25
_TICK_CHUNKED_S: Final = 0.02
#: The fraction of the allowed number of connections beyond which idle ones are closed.
_CROWDED: Final = 0.75
#: How many bytes a connection may bring beside a body before an answer is sent.
_HEAD_BYTES: Final = 16 * 1024
#: An answer is padded to a random length between these, by which its connection is then found.
_PADDING_BYTES: Final = (2_048, 6_144)
_SLACK_BYTES: Final = 700  # for what the server adds to an answer
_LOOKS: Final = 20
_LOOK_S: Final = 0.01


class Answering(Protocol):
    """Granian's object for answering one request (`granian._granian.WSGIProtocol`)."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer the request, unless it was answered already."""


class Doorkeeper:
    """Looks at bodies and connections and runs ``chores``, every 0.25 s, or 0.02 s while chunked bodies are read."""

    def __init__(
        self, reads: BodyReads, *, max_connections: int, max_body_bytes: int, chores: Sequence[Callable[[], None]] = ()
    ) -> None:
        self._reads = reads
        self._max_connections = int(max_connections * _CROWDED)
        self._max_request_bytes = max_body_bytes + max_body_bytes // 8 + _HEAD_BYTES
        self._chores = tuple(chores)
        self._answered: dict[tuple[int, int], tuple[int, int]] = {}
        self.cut_s = -float("inf")  # when a connection was last cut because it had brought too much
        self._thread = threading.Thread(target=self._run, name="doorkeeper", daemon=True)

    def start(self) -> None:
        """Start the doorkeeper's thread."""
        self._thread.start()

    def look(self) -> None:
        """End late reads, cut oversized bodies, close idle connections beyond the maximum, and run the chores."""
        self._end_late_reads()
        if self._reads.chunked:
            self._cut_oversized()
        elif self._answered:
            self._answered.clear()
        if count_descriptors() > self._max_connections:
            self._close_idle()
        for chore in self._chores:
            chore()

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the doorkeeper goes on, whatever happens
                with suppress(Exception):
                    fault(error, "doorkeeper")
            if self._reads.chunked:
                time.sleep(_TICK_CHUNKED_S)
            elif self._reads.chunked_read_started.wait(_TICK_S):
                self._reads.chunked_read_started.clear()

    def _end_late_reads(self) -> None:
        with self._reads.lock:  # so that no thread begins its next request before the late one is answered
            late = self._reads.give_up(time.monotonic())
            if not late:
                return
            before = {each.id: each.sent_bytes for each in connections()}
            size_bytes = _PADDING_BYTES[0] + secrets.randbelow(_PADDING_BYTES[1] - _PADDING_BYTES[0])
            left = _answer(late, size_bytes)
        for _ in range(_LOOKS if left else 0):
            time.sleep(_LOOK_S)
            for each in connections():
                if size_bytes <= each.sent_bytes - before.get(each.id, each.sent_bytes) < size_bytes + _SLACK_BYTES:
                    each.shut_reading()
                    del before[each.id]
                    left -= 1
            if left <= 0:
                return

    def _close_idle(self) -> None:
        """Close the connections that have been idle longest, down to the number allowed."""
        found = connections()
        excess = len(found) - self._max_connections
        if excess > 0:
            idle = sorted((each for each in found if each.is_idle), key=lambda each: each.quiet_s, reverse=True)
            for each in idle[:excess]:
                each.close()

    def _cut_oversized(self) -> None:
        """Cut connections whose chunked body is too large: it is read in one call, which nothing else bounds."""
        answered = {}
        for each in connections():
            sent, before = self._answered.get(each.id, (-1, 0 if each.sent_bytes == 0 else each.received_bytes))
            if sent not in {-1, each.sent_bytes}:
                before = each.received_bytes
            answered[each.id] = (each.sent_bytes, before)
            brought_bytes = each.received_bytes - before
            if brought_bytes > self._max_request_bytes:
                self.cut_s = time.monotonic()
                each.shut_reading()
            if brought_bytes > 2 * self._max_request_bytes:  # data that keeps coming is still received
                each.close()
        self._answered = answered


def _answer(late: Sequence[BodyRead], size_bytes: int) -> int:
    """Answer in place of the threads that wait for these bodies; return how many were answered."""
    frames = sys._current_frames()  # noqa: SLF001 - the only way to a thread's stack
    answered = 0
    for read in late:
        answering = _answering(frames.get(read.thread))
        if answering is not None and read.refusal is not None:
            problem = problem_of(read.refusal)
            headers = {"Content-Type": MEDIA_TYPE, "Connection": "close", **problem.headers}
            answering.response_bytes(problem.status, list(headers.items()), problem.to_json().ljust(size_bytes))
            answered += 1
    return answered


def _answering(frame: FrameType | None) -> Answering | None:
    """Return the object with which a thread answers its request, from the frame that called the application."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "granian.wsgi":
            found: Any = frame.f_locals.get("proto")
            if hasattr(found, "response_bytes"):
                return found  # type: ignore[no-any-return]
        frame = frame.f_back
    return None
