"""Sweeps of the API process: bulk accepts while more and more is pending, and awaited calls by number of callers."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from http.client import HTTPConnection
from statistics import median
from threading import Thread
from typing import TYPE_CHECKING, Final

from bench.contenders.bullmq import BullMQ, BullMQWithDuties
from bench.contenders.contender import DATA, Variant
from bench.contenders.relay import BATCH, COMMAND_S, WEBHOOK, Relay
from bench.plan import QUICK, Sizes
from bench.rounds import BULLMQ, BULLMQ_DUTIES, RELAY, standings
from bench.sweeps.sweep import Sweep
from bench.tournament import Tournament
from relay.settings.names import API_CPU

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench.rounds import Workload
    from bench.sweeps.stages import Scene, Scenes

CALLERS: Final = (1, 8, 64, 256)
SLICES: Final = 10
LINES: Final = 2  # connections to each API process that send bulks: one is read while another is committed
APIS: Final = {1: "relay", 2: "relay, 2 API processes"}
NO_LIMITS: Final = {
    "RELAY_MAX_PENDING": "100000000",
    "RELAY_MAX_PENDING_PER_PLUGIN": "100000000",
    "RELAY_MAX_PENDING_BYTES": "100GiB",
    "RELAY_MAX_PENDING_BYTES_PER_PLUGIN": "100GiB",
}


class RoomyRelay(Relay):
    """The relay with room for all callers of the sweep, its API on one processor."""

    def variants(self, workload: Workload) -> Sequence[Variant]:  # noqa: ARG002 - plays one
        return [Variant("1 worker, API on 1 CPU", 1, {API_CPU: "0", "RELAY_MAX_WAITERS": "2048"})]


def bulk_accept(scenes: Scenes, pending: int) -> Sweep:
    """Measure how fast one API process and two take calls by `POST /v1/triggers` while more and more are pending."""
    sweep = Sweep("bulk", "Accepted in bulk, no worker", "calls pending", "calls/s")
    for apis, name in APIS.items():
        with scenes.scene(settings=NO_LIMITS, apis=apis) as at:
            for taken, rate in _slices(at, pending):
                sweep.add(name, taken, rate)
        rates = [rate for _, rate in sweep.series[name]]
        sweep.want(f"{name}: calls/s, >= 25,000 (median)", median(rates), 25_000, "calls/s")
        sweep.want(f"{name}: last third beside the first, >= 0.85", median(rates[-3:]) / median(rates[:3]), 0.85)
    return sweep


def _slices(at: Scene, pending: int) -> Iterator[tuple[int, float]]:
    """Send the calls in slices; after each, yield how many were sent so far and the rate of the slice in calls/s."""
    body = json.dumps([{"webhookId": WEBHOOK, "data": DATA}] * BATCH).encode()
    ports = at.ports * LINES
    each = max(pending // SLICES // BATCH // len(ports), 1)  # requests of a line in a slice
    for port in at.ports:  # so that each process has read the webhook and the key
        _send(at, port, body, 1)
    at.measure()
    for number in range(1, SLICES + 1):
        began_s = time.monotonic()
        lines = [Thread(target=_send, args=(at, port, body, each)) for port in ports]
        for line in lines:
            line.start()
        for line in lines:
            line.join()
        taken = each * len(ports) * BATCH
        yield number * taken, taken / (time.monotonic() - began_s)


def _send(at: Scene, port: int, body: bytes, requests: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=COMMAND_S)
    for _ in range(requests):
        at.post_on(connection, body)
    connection.close()


def callers(build: Path, *, window_s: float, rounds: int, precedence: bool, say: Callable[[str], None]) -> Sweep:
    """Measure awaited calls with 1, 8, 64 and 256 callers, of the relay and of BullMQ."""
    sweep = Sweep("callers", "Awaited calls by callers", "callers", "answers/s")
    for count in CALLERS:
        sizes = Sizes({}, warmup_s=1, window_s=window_s)
        plan = replace(QUICK, rounds={"always": rounds}, sizes={"always": sizes}, workloads=("await",), callers=count)
        players = [RoomyRelay(), BullMQWithDuties(), BullMQ()]
        stages = build / "sweeps" / f"callers-{count}"
        tournament = Tournament(plan, players, build, say, precedence=precedence, stages=stages)
        tournament.play()
        for found in standings(tournament.rounds):
            sweep.add(found.contender, count, found.rate_per_s)
    for count in CALLERS:
        ours = sweep.value(RELAY, count) or 0
        for peer, factor in ((BULLMQ_DUTIES, 1.5), (BULLMQ, 0.9)):
            theirs = sweep.value(peer, count)
            sweep.want(f"{count} callers beside {peer}, >= {factor:g} x", ours / theirs if theirs else None, factor)
    return sweep
