"""Paced callers: a process that sends triggers at a rate, without waiting for earlier ones (an open loop).

A trigger that finds no idle connection opens one, up to ``--connections``; beyond that it is late, and its latency
counts from the time at which it should have been sent.

Prints one JSON object: {"brought", "answered", "accepted", "missed", "p50_ms", "p99_ms", "faults": {text: count}}.
``answered`` (200), ``accepted`` (202) and the latencies of both cover triggers due inside the measured window.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from bench.rounds import percentile
from bench.wire import UnreadableMessageError, take_message

READ_BYTES: Final = 65_536


@dataclass(slots=True)
class Line:
    """One keep-alive connection."""

    connection: socket.socket
    buffer: bytearray = field(default_factory=bytearray)
    planned_s: float = 0.0


class Pace:
    """Sends triggers at a rate until the window is over, and waits ``linger_s`` for outstanding answers."""

    def __init__(self, port: int, request: bytes, rate_per_s: float, connections: int) -> None:
        self._port, self._request = port, request
        self._every_s = 1 / rate_per_s
        self._most = connections
        self._selector = selectors.DefaultSelector()
        self._idle: deque[Line] = deque()
        self._opened = 0
        self._late: deque[float] = deque()
        self._latencies_ms: list[float] = []
        self._statuses: Counter[bytes] = Counter()
        self._faults: Counter[str] = Counter()
        self._brought = 0

    def run(self, warmup_s: float, window_s: float, linger_s: float) -> dict[str, object]:
        """Send the triggers; return the summary."""
        planned_s = time.monotonic()
        self._begin_s = planned_s + warmup_s
        end_s = self._begin_s + window_s
        while planned_s < end_s:
            if planned_s <= time.monotonic():
                self._bring(planned_s)
                planned_s += self._every_s
            self._take_answers(max(0.0, planned_s - time.monotonic()))
        give_up_s = time.monotonic() + linger_s
        while self._opened > len(self._idle) and time.monotonic() < give_up_s:
            self._take_answers(0.05)
        return {
            "brought": self._brought,
            "answered": self._statuses[b"200"],
            "accepted": self._statuses[b"202"],
            "missed": self._opened - len(self._idle) + len(self._late),
            "p50_ms": percentile(self._latencies_ms, 50),
            "p99_ms": percentile(self._latencies_ms, 99),
            "faults": dict(self._faults),
        }

    def _bring(self, planned_s: float) -> None:
        line = self._line()
        if line is None:
            self._late.append(planned_s)
            return
        self._brought += 1
        line.planned_s = planned_s
        line.connection.sendall(self._request)

    def _line(self) -> Line | None:
        if self._idle:
            return self._idle.popleft()
        if self._opened == self._most:
            return None
        line = Line(socket.create_connection(("127.0.0.1", self._port), timeout=10))
        line.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(line.connection, selectors.EVENT_READ, line)
        self._opened += 1
        return line

    def _take_answers(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            line: Line = key.data
            received = line.connection.recv(READ_BYTES)
            line.buffer += received
            try:
                answer = take_message(line.buffer)
            except UnreadableMessageError:
                received, answer = b"", None
            if not received:
                self._faults["connection closed"] += 1
                self._selector.unregister(line.connection)
                self._opened -= 1
            elif answer is not None:
                self._note(answer.start.split(b" ")[1], line.planned_s)
                self._idle.append(line)
                if self._late:
                    self._bring(self._late.popleft())

    def _note(self, status: bytes, planned_s: float) -> None:
        if status not in {b"200", b"202"}:
            self._faults[f"answered {status.decode()}"] += 1
        elif planned_s >= self._begin_s:
            self._statuses[status] += 1
            self._latencies_ms.append((time.monotonic() - planned_s) * 1000)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--rate-per-s", type=float, required=True)
    arguments.add_argument("--connections", type=int, default=64)
    arguments.add_argument("--warmup-s", type=float, required=True)
    arguments.add_argument("--window-s", type=float, required=True)
    arguments.add_argument("--linger-s", type=float, default=10.0)
    options = arguments.parse_args()
    # The request comes through stdin: it holds an API key, and a command line can be read by others.
    pace = Pace(options.port, sys.stdin.buffer.read(), options.rate_per_s, options.connections)
    print(json.dumps(pace.run(options.warmup_s, options.window_s, options.linger_s)))


if __name__ == "__main__":
    main()
