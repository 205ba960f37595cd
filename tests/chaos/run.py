"""Makes one run: starts a harness, callers and faults, waits until all is over, and judges the result."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import requests

from relay.registration.document import read_registrations
from relay.settings import Settings
from relay.wiring.runtime import cli_runtime
from tests.chaos.callers import Callers
from tests.chaos.evidence import AWAY, Evidence, Watch, pending_of, receipts_of
from tests.chaos.faults import Fault, Mischief
from tests.chaos.harness import Harness
from tests.chaos.history import History
from tests.chaos.operators import Operators
from tests.chaos.plan import HOOKS, Plan
from tests.chaos.promises import Check, Trial
from tests.chaos.sometimes import reached
from tests.receivers import closed_port
from tests.timing import wait_until

if TYPE_CHECKING:
    from pathlib import Path

TROUBLE = 0.2  # the share of requests at which the receiver misbehaves
DELAY_S = 0.02
DRAIN_S = 150.0
DEATHS = frozenset({"server killed", "server's disk full", "power lost"})  # faults by which a server may lose calls
LOST_WINDOW_MS = 6_000  # before a power loss; what callers were told and endpoints received in this time may be undone
SYNCED_AFTER_MS = 2_000  # docs/reliability.md


@dataclass
class Outcome:
    """The result of a run."""

    plan: Plan
    checks: list[Check]
    faults: list[Fault]
    evidence: Evidence
    callers: Callers
    seconds: float
    drain_s: float
    loss: dict[str, float] = field(default_factory=dict)  # what a server lost: ids and seconds
    watched: int = 0  # how many final records were watched during the run
    reached: frozenset[str] = frozenset()  # the conditions of `tests.chaos.sometimes`
    came_back: int = 0  # how many processes of the relay ended and were started again

    @property
    def is_kept(self) -> bool:
        return all(check.is_kept for check in self.checks)


def perform(plan: Plan, beside: Path | None = None) -> Outcome:
    """Make a run, with the tree of another release ``beside`` this one.

    Raises AssertionError if a process does not come up again; broken promises are in the checks.
    """
    with Harness(fsync=plan.fsync, bulk_workers=plan.workers, beside=beside) as harness:
        return try_out(harness, plan, Mischief(harness, plan))


def try_out(harness: Harness, plan: Plan, mischief: Mischief) -> Outcome:
    """Run callers and faults on a running relay until all is over, then judge the result."""
    callers = Callers(harness.url, prepare(harness, plan), plan)
    watch = Watch(harness, callers, plan.seed)
    runtime = cli_runtime(Settings.from_environ(harness.environ))
    operators = Operators(harness.url, runtime, callers, callers.history, plan.seed)
    started_s = time.monotonic()
    for each in (callers, watch, mischief, operators):
        each.start()
    try:
        callers.join()
    finally:
        operators.stop()
        mischief.stop()
        operators.leave_nothing_paused()
        runtime.close()
        calm_s = time.monotonic()
        drained = drain(harness)
        watch.stop()
    ended_s = time.monotonic()
    evidence = Evidence.collect(harness.client, plan.plugins, receipts_of(harness.receiver_url), harness.keys)
    watch.compare(evidence.records)
    if not drained:
        print(harness.last_words())
    excused = excuses(mischief, callers, evidence) | ended_before_loss(mischief, watch)
    refused = () if plan.power_loss else tuple(callers.refused)  # a caller that awaits a lost call is told 404
    history = History() if plan.power_loss else callers.history  # what was confirmed may be undone
    trial = Trial(callers.told, evidence, mischief.log, watch.changed, refused, callers.hung, excused, history=history)
    loss = measured_loss(mischief, callers, evidence)
    checks, seconds, drain_s = trial.checks(), ended_s - started_s, ended_s - calm_s
    found = reached(callers, evidence)
    watched, came_back = len(watch.seen), harness.came_back()
    return Outcome(plan, checks, mischief.log, evidence, callers, seconds, drain_s, loss, watched, found, came_back)


def prepare(harness: Harness, plan: Plan) -> dict[str, str]:
    """Register the webhooks; return an API key for each plugin."""
    runtime = cli_runtime(Settings.from_environ(harness.environ))
    closed = f"http://127.0.0.1:{closed_port()}"
    document = json.dumps([hook.document(harness.receiver_url, closed) for hook in HOOKS])
    requests.post(f"{harness.receiver_url}/_mood", json={"trouble": TROUBLE, "delay_s": DELAY_S}, timeout=10)
    keys = {}
    for plugin in plan.plugins:
        runtime.registry.apply(plugin, read_registrations(document, runtime.rules, plugin=plugin)[1])
        keys[plugin], _ = runtime.api_keys.create(plugin, ["trigger", "operate"], [])
    return keys


def drain(harness: Harness) -> bool:
    """Wait until no invocation is pending; return whether that happened in time."""

    def is_over() -> bool:
        with suppress(*AWAY):
            return pending_of(harness.client, harness.keys) == 0
        return False

    try:
        wait_until(is_over, DRAIN_S, every_s=0.1)  # each look asks every partition
    except AssertionError:
        return False
    return True


def excuses(mischief: Mischief, callers: Callers, evidence: Evidence) -> frozenset[str]:
    """Return the ids that were in progress when power was lost."""
    lost_ms = mischief.lost_power_at_ms
    if lost_ms is None:
        return frozenset()
    window = range(lost_ms - LOST_WINDOW_MS, lost_ms + 1_000)
    touched = {each.reference_id for each in callers.told if each.at_ms in window}
    return frozenset(touched | {ref for ref, rows in evidence.receipts.items() if any(at in window for at, _ in rows)})


def ended_before_loss(mischief: Mischief, watch: Watch) -> frozenset[str]:
    """Return the changed records whose end was younger than two seconds, which ``everysec`` may lose with the power."""
    lost_ms = mischief.lost_power_at_ms
    if lost_ms is None:
        return frozenset()
    undone = range(lost_ms - SYNCED_AFTER_MS, lost_ms)
    return frozenset(ref for ref, ((*_, finished_at_ms), _) in watch.changed.items() if finished_at_ms in undone)


def measured_loss(mischief: Mischief, callers: Callers, evidence: Evidence) -> dict[str, float]:
    """Return how many accepted ids are gone, and how long before the server's death the first of them was accepted."""
    gone = [each for each in callers.told if each.reference_id not in evidence.records]
    deaths = [fault.from_ms for fault in mischief.log if fault.kind in DEATHS]
    ages = [min((at - each.at_ms for at in deaths if at >= each.at_ms), default=0) for each in gone]
    return {"accepted ids lost": len(gone), "oldest of them, s before the death": max(ages, default=0) / 1000}
