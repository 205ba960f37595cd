"""A sweep of the API process: bulk triggers accepted while more and more calls are pending."""

from __future__ import annotations

import json
import time
from http.client import HTTPConnection
from statistics import median
from threading import Thread
from typing import TYPE_CHECKING, Final

from bench.contenders.contender import DATA, WEBHOOK
from bench.contenders.relay import BATCH, COMMAND_S
from bench.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.scene import Scene, Scenes

SLICES: Final = 10
LINES: Final = 2  # connections to each API process that send bulks: one is read while another is committed
APIS: Final = {1: "relay", 2: "relay, 2 API processes"}
NO_LIMITS: Final = {
    "RELAY_MAX_PENDING": "100000000",
    "RELAY_MAX_PENDING_PER_PLUGIN": "100000000",
    "RELAY_MAX_PENDING_BYTES": "100GiB",
    "RELAY_MAX_PENDING_BYTES_PER_PLUGIN": "100GiB",
}


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
