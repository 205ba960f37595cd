"""Sweeps of what workers do: worker processes, payloads, a slow endpoint, TLS, chains and replays."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from bench.children import BenchError
from bench.contenders.contender import DATA, WEBHOOK
from bench.scene import PATIENCE_S
from bench.sweeps.sweep import Sweep
from relay.domain.invocation import State
from relay.store.replays.jobs import ReplayState

if TYPE_CHECKING:
    from bench.scene import Scene, Scenes

SLOW_S: Final = 0.2
IN_FLIGHT: Final = (100, 300, 900, 2_000)
PAYLOAD_KIB: Final = (1, 16, 64, 256, 1_000)
STEPS: Final = ("step-a", "step-b", "step-c")
CHAIN: Final = {"id": "chain", "steps": [{"webhook": name, "data": "input.data"} for name in STEPS]}


def worker_processes(scenes: Scenes, calls: int) -> Sweep:
    """Measure queued calls drained by one worker process and by more."""
    sweep = Sweep("workers", "Drained by worker processes", "worker processes", "calls/s")
    for workers in (1, 2, 3):
        with scenes.scene() as at:
            at.queue(calls)
            sweep.add("relay", workers, at.drain(calls, workers=workers))
    return sweep


def payloads(scenes: Scenes, calls: int) -> Sweep:
    """Measure queued calls drained, with payloads of 1 KiB to 1 MiB."""
    sweep = Sweep("payloads", "Drained by size of the payload", "KiB", "MiB/s")
    for kib in PAYLOAD_KIB:
        several = max(40, min(calls, 32 * 1024 // kib))
        with scenes.scene() as at:
            at.queue(several, data={**DATA, "note": "x" * (kib * 1024)})
            sweep.add("relay", kib, at.drain(several) * kib / 1024)
    return sweep


def slow_endpoint(scenes: Scenes, _calls: int) -> Sweep:
    """Measure how close a worker process comes to the ideal rate of a 200 ms endpoint, and the memory per call."""
    sweep = Sweep("slow", "One worker, an endpoint of 200 ms", "calls in flight allowed", "of the ideal rate")
    names = [f"slow-{number}" for number in range(8)]
    kib = 0.0
    for places in IN_FLIGHT:
        calls = places * 15
        with scenes.scene(delay_s=SLOW_S, names=names, settings={"RELAY_MAX_IN_FLIGHT": str(places)}) as at:
            at.start_worker()
            at.await_workers(1)
            at.queue(places, names)
            at.watch(places, 0, places)
            before_kib = at.stage.children.memory_kib("worker")
            at.endpoint.reset()
            at.queue(calls, names)
            rate = at.watch(calls, places, calls)
            open_most = at.endpoint.receipts().most_open
            kib = (at.stage.children.memory_kib("worker", "VmHWM") - before_kib) / max(open_most, 1)
            sweep.add("relay", places, rate / (places / SLOW_S))
    sweep.want(f"{IN_FLIGHT[-1]} in flight: of ideal, >= 0.8", sweep.value("relay", IN_FLIGHT[-1]), 0.8)
    sweep.want_at_most("memory a call in flight, <= 20 KiB", kib, 20, "KiB")
    return sweep


def tls(scenes: Scenes, calls: int) -> Sweep:
    """Measure queued calls drained without and with TLS, and how many of the latter reused a connection."""
    sweep = Sweep("tls", "Drained, endpoint behind TLS", "", "calls/s", labels=["in the clear", "TLS"])
    opened = opened_first = 0
    for behind in (False, True):
        with scenes.scene(tls=behind) as at:
            at.queue(calls)
            at.endpoint.reset()
            at.start_worker()
            at.stage.children.wait_until("half of them", lambda at=at: at.ended() >= calls // 2, PATIENCE_S)
            opened_first = at.endpoint.receipts().handshakes
            sweep.add("relay", behind, at.watch(calls, 0, calls))
            opened = at.endpoint.receipts().handshakes
    sweep.want("reused connections, of all calls, >= 0.99", 1 - opened / calls, 0.99, f"({opened} opened)")
    later = 1 - (opened - opened_first) / (calls - calls // 2)
    sweep.want("of the second half, >= 0.99", later, 0.99, "")
    return sweep


def chains(scenes: Scenes, calls: int) -> Sweep:
    """Measure chains of three steps, compared with as many single calls as they have steps."""
    sweep = Sweep("chains", "Chains of 3 steps", "", "requests/s", labels=["single calls", "steps of chains"])
    several = max(calls // 10, 100)
    with scenes.scene(names=STEPS, chains=[CHAIN]) as at:
        at.queue(several * 3)
        sweep.add("relay", 0, at.drain(several * 3))
        at.stop_workers()
        at.queue(several, ["chain"])
        sweep.add("relay", 1, 3 * at.drain(several * 4, receipts=several * 3) / 4)
    return sweep


def replays(scenes: Scenes, calls: int) -> Sweep:
    """Measure a replay of everything without a rate, compared with the calls that it repeats."""
    sweep = Sweep("replays", "Replay at full rate", "", "calls/s", labels=["calls drained", "replayed"])
    with scenes.scene() as at:
        at.queue(calls)
        sweep.add("relay", 0, at.drain(calls))
        began_s = time.monotonic()
        _replay(at, calls)
        sweep.add("relay", 1, calls / (time.monotonic() - began_s))
    return sweep


def _replay(at: Scene, calls: int) -> None:
    """Replay every call, and wait until all have ended."""
    wanted = {"filter": {"webhookId": WEBHOOK, "states": [State.DELIVERED]}}
    path = f"/v1/replays/{at.ask('POST', '/v1/replays', wanted)['replayId']}"
    at.stage.children.wait_until(
        "the replay's end", lambda: at.ask("GET", path)["state"] == ReplayState.DONE, PATIENCE_S
    )
    delivered = at.ask("GET", path)["delivered"]
    if delivered != calls:
        raise BenchError(f"{delivered} replays delivered of {calls}")
