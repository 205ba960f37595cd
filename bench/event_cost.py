"""`python -m bench.event_cost`: what Flower's events cost, in microseconds of processor.

Every call costs the worker the choice whether to show it; an event that is shown costs worker and server its sending.
Both are measured as processor time, which a busy machine disturbs little.
"""

from __future__ import annotations

import shutil
import time
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console

from bench.children import ROOT, Children
from bench.server import Server
from relay.invocation import Outcome, State
from relay.metrics.shown_calls import ShownCall, ShownCalls, state_of
from relay.queue import make_app
from relay.reference_id import new_reference_id
from relay.settings import Settings
from relay.store.transitions import Settlement
from workers.task_events import TaskEvents

if TYPE_CHECKING:
    from collections.abc import Callable

BUILD: Final = ROOT / "build" / "events"
CALLS: Final = 50_000
SENDS: Final = 100
ROUNDS: Final = 7
#: Microseconds of all processes for a drained call, on a machine that does nothing else (docs/performance.md).
CALL_US: Final = 180.0


def _shown(settlement: Settlement) -> ShownCall:
    return ShownCall(
        reference_id=settlement.reference_id,
        webhook="shop/order",
        state=state_of(settlement),
        result=f"{settlement.status} {settlement.outcome}",
        runtime_s=0.05,
        retries=0,
        lane="bulk",
        ended_at_s=time.time(),
    )


def _cpu_us(act: Callable[[], Any]) -> float:
    began_ns = time.process_time_ns()
    act()
    return (time.process_time_ns() - began_ns) / 1000


def _sampled_us(settlements: list[Settlement], per_second: int) -> float:
    """Return microseconds a call for choosing the sample in a second of a drain."""
    calls = ShownCalls(per_second)

    def add() -> None:
        for settlement in settlements:
            calls.add(_shown(settlement))

    return _cpu_us(add) / len(settlements)


@click.command()
@click.option("--per-second", type=int, default=50, show_default=True, help="RELAY_FLOWER_EVENTS.")
def main(per_second: int) -> None:
    """Measure, and print the cost in a drain."""
    shutil.rmtree(BUILD, ignore_errors=True)
    one = Settlement(new_reference_id(), "t", State.DELIVERED, Outcome.ANSWERED, 200, error=False, attempt=None)
    group = [_shown(one) for _ in range(per_second)]
    with Children(BUILD) as children:
        server = Server(children, BUILD / "server", "everysec")
        events = TaskEvents(make_app(Settings.from_environ({"RELAY_REDIS_URL": server.url()})), "bench@here")
        events.send(group)
        sent, served, sampled = [], [], []
        for _ in range(ROUNDS):
            sampled.append(_sampled_us([one] * CALLS, per_second))
            before = server.client.info("cpu")
            sent.append(_cpu_us(lambda: [events.send(group) for _ in range(SENDS)]) / SENDS / per_second)
            after = server.client.info("cpu")
            spent = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
            served.append(spent * 1e6 / SENDS / per_second)
    call_us, event_us = median(sampled), median(sent) + median(served)
    console = Console(width=120)
    worker_us, server_us = median(sent), median(served)
    console.print(f"a call's place in the sample: {call_us:.2f} us")
    console.print(f"an event: {worker_us:.1f} us in the worker, {server_us:.1f} us in the server")
    console.print(f"{per_second} events a second: {per_second * event_us / 1e4:.2f} % of a core")
    for rate in (1_000, 5_000, 10_000):
        cost_us = call_us + event_us * per_second / rate
        share = 100 * cost_us / CALL_US
        console.print(f"at {rate:,} calls a second: {cost_us:.2f} us a call, {share:.2f} % of {CALL_US:g} us")


if __name__ == "__main__":
    main()
