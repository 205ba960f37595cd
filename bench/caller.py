"""The callers: a process that keeps N connections busy, one awaited call on each, and checks every answer.

Prints one JSON object: {"answers", "rate_per_s", "p50_ms", "p99_ms", "distinct", "digest", "faults": {text: count}}.
``answers``, ``distinct``, ``digest`` and ``faults`` cover the whole run with its warm-up and its last answers;
the rate and the latencies cover the answers that came inside the measured window.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Final

from bench.receipts import digest_of
from bench.rounds import percentile
from bench.wire import Message, UnreadableMessageError, take_message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READ_BYTES: Final = 65_536
LAST_ANSWERS_S: Final = 30.0  # how long the calls still out at the end may take
WANTED_DATA: Final = {"ok": True}


@dataclass(slots=True)
class Tally:
    """Counts the answers: latencies only of those inside the window, ids and faults of all."""

    begin_s: float
    end_s: float
    accepting: bool = False  # calls are answered when they are queued, not when they have ended
    latencies_ms: list[float] = field(default_factory=list)
    ids: set[bytes] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)
    answers: int = 0

    def note(self, answer: Message, sent_s: float, now_s: float) -> None:
        self.answers += 1
        if self.begin_s <= now_s < self.end_s:
            self.latencies_ms.append((now_s - sent_s) * 1000)
        fault = self._fault(answer)
        if fault:
            self.faults[fault] += 1

    def _fault(self, answer: Message) -> str | None:
        if not answer.head.startswith(b"HTTP/1.1 202" if self.accepting else b"HTTP/1.1 200"):
            return f"answered {answer.start.decode('ascii', 'replace')}"
        result = json.loads(answer.body)
        if self.accepting:
            return self._named(result)
        if result["status"] != 200 or result["error"] or result["data"] != WANTED_DATA:
            return f"result has status {result['status']}, error {result['error']}"
        return self._named(result)

    def _named(self, result: Mapping[str, Any]) -> str | None:
        call_id = result["referenceId"].encode()
        if call_id in self.ids:
            return "a reference id was answered twice"
        self.ids.add(call_id)
        return None

    def summary(self) -> dict[str, object]:
        return {
            "answers": self.answers,
            "rate_per_s": len(self.latencies_ms) / (self.end_s - self.begin_s),
            "p50_ms": percentile(self.latencies_ms, 50),
            "p99_ms": percentile(self.latencies_ms, 99),
            "distinct": len(self.ids),
            "digest": digest_of(self.ids),
            "faults": dict(self.faults),
        }


@dataclass(slots=True)
class Caller:
    """One keep-alive connection with at most one call out on it."""

    connection: socket.socket
    buffer: bytearray = field(default_factory=bytearray)
    sent_s: float = 0.0

    def call(self, request: bytes) -> None:
        self.sent_s = time.monotonic()
        self.connection.sendall(request)


class Load:
    """Drives all callers through warm-up and window, then waits for the answers still out."""

    def __init__(self, ports: Sequence[int], request: bytes, callers: int) -> None:
        self._request = request
        self._selector = selectors.DefaultSelector()
        spread = islice(cycle(ports), callers)
        self._callers = [Caller(socket.create_connection(("127.0.0.1", port), timeout=10)) for port in spread]
        for caller in self._callers:
            caller.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            caller.connection.setblocking(False)
            self._selector.register(caller.connection, selectors.EVENT_READ, caller)

    def run(self, warmup_s: float, window_s: float, *, accepting: bool = False) -> Tally:
        begin_s = time.monotonic() + warmup_s
        tally = Tally(begin_s, begin_s + window_s, accepting)
        for caller in self._callers:
            caller.call(self._request)
        out = len(self._callers)
        while out and time.monotonic() < tally.end_s + LAST_ANSWERS_S:
            for key, _ in self._selector.select(timeout=1):
                out -= self._read(key.data, tally)
        if out:
            tally.faults["no answer"] += out
        return tally

    def _read(self, caller: Caller, tally: Tally) -> int:
        """Reads what came for one caller; 1 if it makes no further call."""
        try:
            received = caller.connection.recv(READ_BYTES)
            caller.buffer += received
            answer = take_message(caller.buffer)
        except (OSError, UnreadableMessageError):
            received, answer = b"", None
        if not received:
            tally.faults["connection closed"] += 1
            self._selector.unregister(caller.connection)
            return 1
        if answer is None:
            return 0
        now_s = time.monotonic()
        tally.note(answer, caller.sent_s, now_s)
        if now_s >= tally.end_s:
            return 1
        caller.call(self._request)
        return 0


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, nargs="+", required=True, help="the callers spread over several")
    arguments.add_argument("--callers", type=int, required=True)
    arguments.add_argument("--warmup-s", type=float, required=True)
    arguments.add_argument("--window-s", type=float, required=True)
    arguments.add_argument("--accepting", action="store_true", help="answers are 202, without a result")
    options = arguments.parse_args()
    # The request comes through stdin: it holds an API key, and a command line can be read by others.
    load = Load(options.port, sys.stdin.buffer.read(), options.callers)
    print(json.dumps(load.run(options.warmup_s, options.window_s, accepting=options.accepting).summary()))


if __name__ == "__main__":
    main()
