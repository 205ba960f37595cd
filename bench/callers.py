"""Callers: a process that keeps connections busy with calls, checks every answer and prints one JSON object.

Closed loop: each of N callers calls again as soon as it is answered. Open loop (``--rate-per-s``): calls are due at a
rate, answered or not, with the gaps of independent arrivals (exponential) or even ones. A call that finds no free
caller waits for one, and its latency counts from the moment at which it was due.

The requests come through stdin, since they hold API keys: a JSON list of ``bench.calls.Request``, of which one is
drawn for each call. On SIGTERM the callers stop calling, and report what they have.

    answers, calls, distinct, digest, faults   of the whole run: calls are what the endpoint has to receive
    rate_per_s                                 answers that came inside the window, with the preferred status
    p50_ms, p99_ms, answered, accepted, named  of calls that were due inside the window: 200 and 202, and by name
    missed                                     calls that were due and have no answer
"""

from __future__ import annotations

import argparse
import json
import random
import selectors
import signal
import socket
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

import orjson

from bench.calls import Request
from bench.readings import percentile
from bench.receipts import digest_of
from bench.wire import STAMP, Message, UnreadableMessageError, stamp, take_message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

READ_BYTES: Final = 65_536
LINGER_S: Final = 30.0
GAPS: Final[Mapping[str, Callable[[float], float]]] = {
    "exponential": random.expovariate,
    "even": lambda rate_per_s: 1 / rate_per_s,
}


@dataclass(slots=True)
class Line:
    """One keep-alive connection with at most one call out on it."""

    connection: socket.socket
    buffer: bytearray = field(default_factory=bytearray)
    request: Request | None = None
    due_s: float = 0.0


@dataclass(slots=True)
class Tally:
    """Counts answers, and checks each: its status, its result, an id not seen before."""

    begin_s: float
    end_s: float
    answers: int = 0
    calls: int = 0
    inside: int = 0
    ids: set[bytes] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_ms: dict[str, list[float]] = field(default_factory=dict)

    def note(self, request: Request, answer: Message, due_s: float, now_s: float) -> None:
        self.answers += 1
        status = int(answer.head[9:12])
        if status not in request.statuses:
            self.faults[f"answered {answer.start.decode('ascii', 'replace')}"] += 1
            return
        self.calls += request.calls
        wanted = status == request.statuses[0]
        self.inside += wanted and self.begin_s <= now_s < self.end_s
        if self.begin_s <= due_s < self.end_s:
            self.statuses[status] += 1
            if wanted:
                self.latencies_ms.setdefault(request.name, []).append((now_s - due_s) * 1000)
        self._check(request, status, orjson.loads(answer.body))

    def _check(self, request: Request, status: int, told: Any) -> None:
        if told.get("rejected"):
            self.faults["calls of a bulk were rejected"] += 1
        wrong = request.result is not None and (told.get("status"), told.get("error")) != (
            request.result,
            request.result >= 400,
        )
        if status == 200 and wrong:
            self.faults[f"result has status {told.get('status')}, error {told.get('error')}"] += 1
        new = {each["referenceId"].encode() for each in told.get("results", (told,))}
        if new & self.ids:
            self.faults["a reference id was answered twice"] += 1
        self.ids |= new

    def summary(self, missed: int) -> dict[str, object]:
        every = [value for values in self.latencies_ms.values() for value in values]
        return {
            "answers": self.answers,
            "calls": self.calls,
            "rate_per_s": self.inside / (self.end_s - self.begin_s),
            **_times(every),
            "answered": self.statuses[200],
            "accepted": self.statuses[202],
            "missed": missed,
            "distinct": len(self.ids),
            "digest": digest_of(self.ids),
            "faults": dict(self.faults),
            "named": {name: {"answers": len(values), **_times(values)} for name, values in self.latencies_ms.items()},
        }


def _times(values: list[float]) -> dict[str, float | None]:
    return {"p50_ms": percentile(values, 50), "p99_ms": percentile(values, 99)}


class Load:
    """Calls until the window is over, then waits for outstanding answers. ``gap`` is None for a closed loop."""

    def __init__(
        self, ports: Sequence[int], requests: Sequence[Request], callers: int, gap: Callable[[], float] | None
    ) -> None:
        self._ports = cycle(ports)
        self._requests, self._weights = requests, [each.weight for each in requests]
        self._texts = {each.name: each.text.encode() for each in requests}
        self._left = callers
        self._gap = gap
        self._selector = selectors.DefaultSelector()
        self._idle: deque[Line] = deque()
        self._late: deque[float] = deque()
        self._out = 0
        self._tally = Tally(0.0, 0.0)

    def stop(self, *_: object) -> None:
        """End the window now."""
        self._tally.end_s = min(self._tally.end_s, time.monotonic())

    def run(self, warmup_s: float, window_s: float, linger_s: float) -> dict[str, object]:
        due_s = time.monotonic()
        tally = self._tally
        tally.begin_s, tally.end_s = due_s + warmup_s, due_s + warmup_s + window_s
        if self._gap is None:
            for _ in range(self._left):
                self._call(due_s)
        while (now_s := time.monotonic()) < tally.end_s:
            while self._gap is not None and due_s <= now_s:
                self._call(due_s)
                due_s += self._gap()
            until_s = tally.end_s if self._gap is None else min(due_s, tally.end_s)
            self._take_answers(max(0.0, until_s - time.monotonic()))
        give_up_s = time.monotonic() + linger_s
        while self._out and time.monotonic() < give_up_s:
            self._take_answers(0.05)
        return tally.summary(self._out + len(self._late))

    def _call(self, due_s: float) -> None:
        line = self._free_line()
        if line is None:
            self._late.append(due_s)
            return
        several = len(self._requests) > 1
        line.request = random.choices(self._requests, self._weights)[0] if several else self._requests[0]
        line.due_s = due_s
        self._out += 1
        line.connection.sendall(self._texts[line.request.name].replace(STAMP, stamp()))

    def _free_line(self) -> Line | None:
        if self._idle:
            return self._idle.popleft()
        if not self._left:
            return None
        self._left -= 1
        line = Line(socket.create_connection(("127.0.0.1", next(self._ports)), timeout=10))
        line.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(line.connection, selectors.EVENT_READ, line)
        return line

    def _take_answers(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            line: Line = key.data
            try:
                received = line.connection.recv(READ_BYTES)
                line.buffer += received
                answer = take_message(line.buffer)
            except (OSError, UnreadableMessageError):
                received, answer = b"", None
            if not received:
                self._tally.faults["connection closed"] += 1
                self._selector.unregister(line.connection)
                self._out -= line.request is not None
            elif answer is not None:
                self._answered(line, answer)

    def _answered(self, line: Line, answer: Message) -> None:
        now_s = time.monotonic()
        if line.request is not None:
            self._out -= 1
            self._tally.note(line.request, answer, line.due_s, now_s)
        line.request = None
        self._idle.append(line)
        if now_s < self._tally.end_s:
            if self._late:
                self._call(self._late.popleft())
            elif self._gap is None:
                self._call(now_s)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, nargs="+", required=True, help="the callers spread over several")
    arguments.add_argument("--callers", type=int, default=64)
    arguments.add_argument("--rate-per-s", type=float, help="an open loop")
    arguments.add_argument("--gaps", choices=list(GAPS), default="exponential")
    arguments.add_argument("--warmup-s", type=float, required=True)
    arguments.add_argument("--window-s", type=float, required=True)
    arguments.add_argument("--linger-s", type=float, default=LINGER_S, help="for how long answers are waited for")
    options = arguments.parse_args()
    rate_per_s, draw = options.rate_per_s, GAPS[options.gaps]
    requests = [Request(**each) for each in json.load(sys.stdin)]
    load = Load(options.port, requests, options.callers, None if rate_per_s is None else lambda: draw(rate_per_s))
    signal.signal(signal.SIGTERM, load.stop)
    found = load.run(options.warmup_s, options.window_s, options.linger_s)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # at its end Python restores the default, which kills
    print(json.dumps(found))


if __name__ == "__main__":
    main()
