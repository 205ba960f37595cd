"""The second table: layouts made by hand, and calls in waves: queued ones drained, awaited ones, accepted ones."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final

from bench.calls import start_callers, summary_of
from bench.children import BenchError
from bench.contenders.contender import SPOT_CHECKS, START_S
from bench.readings import ENDPOINT, Reading, caller_faults, cpu_a_call, receipt_faults
from bench.receipts import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.calls import Request
    from bench.contenders.contender import Contender, Door, Layout, Stage, Workload

CALLERS: Final = 64
SLOWEST_PER_S: Final = 100  # a drain slower than this is given up
LATE_RECEIPTS_S: Final = 0.5  # how long a doubled call may take to show up after the last result
WARMUP_S: Final = 1.0
ANSWER_S: Final = 60.0


def drain(contender: Contender, layout: Layout, stage: Stage, calls: int, _window_s: float) -> Reading:
    """Queue all calls, then start the workers; measure from the first receipt to the last recorded result."""
    endpoint = stage.endpoint
    ids = contender.enqueue(stage, calls)
    before = contender.recorded(stage)
    endpoint.reset()
    contender.start_workers(stage, layout, "drain")
    stage.children.wait_until("the first receipt", lambda: endpoint.progress().receipts > 0, START_S)
    used_s = stage.children.cpu_s()
    within_s = calls / SLOWEST_PER_S + START_S
    stage.children.wait_until("the last result", lambda: contender.recorded(stage) - before >= calls, within_s)
    end_s = time.monotonic()
    cpu_us = cpu_a_call(used_s, stage.children.cpu_s(), calls)
    time.sleep(LATE_RECEIPTS_S)
    receipts = endpoint.receipts()
    faults = receipt_faults(receipts, calls=calls, digest=digest_of(ids))
    if bad := contender.bad_results(stage, random.sample(ids, min(SPOT_CHECKS, calls))):
        faults.append(f"{bad} results are not the endpoint's answer")
    return _reading(
        contender, "drain", layout, {"rate_per_s": calls / (end_s - (receipts.first_s or 0.0))}, cpu_us, faults
    )


def awaited(contender: Contender, layout: Layout, stage: Stage, _calls: int, window_s: float) -> Reading:
    """Keep all callers busy; measure the answers inside the window."""
    door = contender.start_front(stage, layout)
    contender.start_workers(stage, layout, "await")
    answered_once(stage, door, door.awaited())
    time.sleep(LATE_RECEIPTS_S)  # more workers may still be starting, and abandoned calls still ending
    stage.endpoint.reset()
    used_s = stage.children.cpu_s()
    found = _called(door, door.awaited(), window_s)
    cpu_us = cpu_a_call(used_s, stage.children.cpu_s(), found["answers"])
    time.sleep(LATE_RECEIPTS_S)
    faults = receipt_faults(stage.endpoint.receipts(), calls=found["distinct"], digest=found["digest"])
    return _reading(contender, "await", layout, found, cpu_us, caller_faults(found) + faults)


def accepted(contender: Contender, layout: Layout, stage: Stage, _calls: int, window_s: float) -> Reading:
    """Keep all callers busy with calls that are not awaited, while no worker runs; measure acceptances."""
    door = contender.start_front(stage, layout)
    answered_once(stage, door, door.single())
    used_s, before = stage.children.cpu_s(), contender.queued(stage)
    found = _called(door, door.single(), window_s)
    cpu_us = cpu_a_call(used_s, stage.children.cpu_s(), found["answers"])
    faults = caller_faults(found)
    if (queued := contender.queued(stage) - before) != found["distinct"]:
        faults.append(f"{queued} calls queued of {found['distinct']} accepted")
    return _reading(contender, "accept", layout, found, cpu_us, faults)


WAVES: Final[Mapping[Workload, Callable[[Contender, Layout, Stage, int, float], Reading]]] = {
    "drain": drain,
    "await": awaited,
    "accept": accepted,
}


def answered_once(stage: Stage, door: Door, request: Request) -> None:
    """Wait until one caller's call is answered as it should be."""

    def answered() -> bool:
        return not summary_of(start_callers(door.ports[:1], [request], callers=1, warmup_s=0, window_s=0.01))["faults"]

    stage.children.wait_until("the first answer", answered, ANSWER_S)


def _called(door: Door, request: Request, window_s: float) -> dict[str, Any]:
    found = summary_of(start_callers(door.ports, [request], callers=CALLERS, warmup_s=WARMUP_S, window_s=window_s))
    if found["missed"]:
        raise BenchError(f"{found['missed']} calls were not answered")
    return found


def _reading(
    contender: Contender,
    workload: Workload,
    layout: Layout,
    found: Mapping[str, Any],
    cpu_us: Mapping[str, float],
    faults: list[str],
) -> Reading:
    figures = {name: found.get(name) for name in ("rate_per_s", "p50_ms", "p99_ms")}
    figures |= {f"{kind}_us": used for kind, used in cpu_us.items()}
    figures["cpu_us"] = sum(used for kind, used in cpu_us.items() if kind != ENDPOINT)
    return Reading(contender.name, f"waves {workload}", figures, tuple(faults), layout.name)
