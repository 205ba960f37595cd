"""Checks how long calls wait for workers, which of them fail or wait for an operator, and which replays are paused.

That includes the relay's own calls: alerts and callbacks.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from relay.doctor.finding import Finding, Level, judged, listed
from relay.domain.invocation import OwnCaller, State
from relay.errors import Unavailable
from relay.queue import LANES
from relay.store.counts.counts import FEWEST_ENDS, RECENT_MINUTES
from relay.store.health.workers import workers_by_lane
from relay.store.ledger.listing import Filter
from relay.store.replays.jobs import ReplayState
from relay.store.server.availability import going_on_without

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.store.counts.backlog import LaneBacklog
    from relay.store.health.workers import LiveWorker
    from relay.store.ledger.policies import Traffic
    from relay.wiring.runtime import Runtime

#: A call that has waited longer than this many seconds probably needs an operator.
LONG_S: Final = 900
_MOST_JOBS: Final = 1_000  # of a plugin, the newest
#: How far back, in hours, failures count, unless a replay has made them good.
HOURS: Final = 24
_MOST_LOOKED_AT: Final = 10_000  # of a plugin's failures, the newest
_ALERTS: Final = "alerts"


def examine_lanes(workers: Sequence[LiveWorker] | None, backlogs: Sequence[LaneBacklog]) -> Iterator[Finding]:
    """Yield the findings on the workers (None: not known) and on the calls that wait in each lane."""
    if workers is None:
        said = "not known: their heartbeats are among the shared keys"
        yield Finding("workers", Level.PROBLEM, said, "See the findings above.")
    else:
        yield judged(
            "workers",
            bool(workers),
            ", ".join(worker.name for worker in workers) or "none is alive",
            "Start some: `relay up`, or the worker lines of the Procfile. Until then triggers are kept and wait.",
        )
    counts = dict.fromkeys(LANES) if workers is None else workers_by_lane(workers)
    for backlog in backlogs:
        yield _lane(backlog, counts[backlog.lane])


def _lane(backlog: LaneBacklog, workers: int | None) -> Finding:
    check, oldest_s = f"lane {backlog.lane}", (backlog.oldest_ms or 0) / 1000
    served = "" if workers is None else f"{workers} worker{'' if workers == 1 else 's'}, "
    found = f"{served}{backlog.pending} waiting"
    if backlog.pending:
        found += f", the oldest for {oldest_s:.0f} s"
    if workers == 0:
        advice = "Start a worker for it (in the Procfile, `-Q` names a worker's lanes)."
        return Finding(check, Level.PROBLEM, found, advice)
    advice = "`relay webhooks show` says what holds calls back; if nothing does, add workers (`relay up --workers`)."
    return judged(check, oldest_s <= LONG_S, found, advice, Level.NOTE)


def examine_calls(runtime: Runtime, plugins: Sequence[str]) -> Iterator[Finding]:
    """Yield the findings on the calls of all webhooks, even of those that were removed, and on replays."""
    traffics = {
        f"{plugin}/{webhook_id}": traffic
        for plugin in plugins
        for webhook_id, traffic in _traffics(runtime, plugin).items()
    }
    yield _breakers(traffics)
    yield _failing(runtime, plugins)
    yield from _waiting(runtime, plugins, traffics)
    yield from _paused_replays(runtime, plugins)


def _traffics(runtime: Runtime, plugin: str) -> dict[str, Traffic]:
    registered = {webhook.shape.webhook_id for webhook in runtime.registry.shapes(plugin)}
    names = sorted({webhook for webhook, _ in runtime.measures.totals(plugin) if webhook} | registered)
    return dict(zip(names, runtime.policies.traffics(plugin, names), strict=True))


def _breakers(traffics: dict[str, Traffic]) -> Finding:
    open_ones = [f"{name} ({traffic.breaker})" for name, traffic in traffics.items() if traffic.breaker != "closed"]
    return judged(
        "breakers",
        not open_ones,
        f"the endpoints of these cannot be contacted: {listed(open_ones)}" if open_ones else "all are closed",
        "`relay webhooks test ID --plugin P` shows why; if it succeeds, `relay webhooks close-breaker` sends again.",
    )


def _failing(runtime: Runtime, plugins: Sequence[str]) -> Finding:
    failing = [
        f"{plugin}/{webhook_id} ({counts.errors} of {counts.ended})"
        for plugin in plugins
        for webhook_id, counts in runtime.measures.recent(plugin, RECENT_MINUTES).items()
        if counts.ended >= FEWEST_ENDS and 2 * counts.errors >= counts.ended
    ]
    return judged(
        "failing",
        not failing,
        f"failed in the last {RECENT_MINUTES} minutes: {listed(failing)}"
        if failing
        else f"no webhook failed half of its calls in the last {RECENT_MINUTES} minutes",
        "`relay invocations list --failed --group --plugin P` says why; replay them once the endpoint is back.",
    )


def _waiting(runtime: Runtime, plugins: Sequence[str], traffics: dict[str, Traffic]) -> Iterator[Finding]:
    """Yield the webhooks with parked calls that are paused, or whose registration was removed."""
    registered = {f"{plugin}/{each.shape.webhook_id}" for plugin in plugins for each in runtime.registry.shapes(plugin)}
    parked = {name: traffic for name, traffic in traffics.items() if traffic.parked}
    removed = [f"{name} ({traffic.parked})" for name, traffic in parked.items() if name not in registered]
    paused = [f"{name} ({traffic.parked})" for name, traffic in parked.items() if name in registered and traffic.paused]
    if paused:
        yield Finding("paused", Level.NOTE, f"calls wait: {listed(paused)}", "`relay webhooks resume` sends them.")
    if removed:
        advice = "`relay webhooks resume` ends them as `rejected`; to have them sent, register the webhook again."
        yield Finding("removed", Level.PROBLEM, f"calls of removed webhooks wait: {listed(removed)}", advice)


def _paused_replays(runtime: Runtime, plugins: Sequence[str]) -> Iterator[Finding]:
    paused = [
        f"{job.replay_id} of {plugin}"
        for plugin in plugins
        for job in runtime.replay_store.list(plugin, limit=_MOST_JOBS)
        if job.state is ReplayState.PAUSED
    ]
    if paused:
        advice = "`relay replay resume ID` goes on with one, `relay replay cancel ID` ends it."
        yield Finding("replays", Level.NOTE, f"paused: {listed(paused)}", advice)


def examine_alerts(runtime: Runtime) -> Finding:
    """Check that alerts go to a registered webhook, and that those of the last day arrived."""
    name = runtime.settings.alerts
    if name is None:
        unset = "RELAY_ALERTS is not set: nobody is notified when calls fail or a lane has no worker"
        return Finding(_ALERTS, Level.NOTE, unset, "Register a webhook for alerts, and name it there as PLUGIN/ID.")
    plugin, webhook_id = name.split("/")
    try:
        with going_on_without():
            found = runtime.registry.current(plugin, webhook_id, refresh=True)
    except Unavailable as error:
        return Finding(_ALERTS, Level.PROBLEM, error.message, "See the findings above.")
    if found is None:
        advice = f"Register it: relay webhooks apply FILE --plugin {plugin}. Until then alerts are lost."
        return Finding(_ALERTS, Level.PROBLEM, f"{name} is not registered", advice)
    failed = _failed(runtime, plugin, OwnCaller.ALERT)
    advice = f"`relay webhooks test {webhook_id} --plugin {plugin}` shows why."
    return judged(_ALERTS, not failed, _said(failed) if failed else f"go to {name}", advice)


def examine_callbacks(runtime: Runtime, plugins: Sequence[str]) -> Finding:
    """Check that the callbacks of the last day arrived."""
    failed = [each for plugin in plugins for each in _failed(runtime, plugin, OwnCaller.CALLBACK)]
    advice = "Once the endpoint is back: `relay replay start --caller callback --plugin P` sends them again."
    return judged("callbacks", not failed, _said(failed) if failed else "none failed", advice)


def _said(failed: Sequence[str]) -> str:
    return f"calls failed in the last {HOURS} hours: {listed(failed)}"


def _failed(runtime: Runtime, plugin: str, caller: OwnCaller) -> list[str]:
    """Return the webhooks whose calls by this caller failed, each with their number."""
    since_ms = int(time.time() * 1000) - HOURS * 3_600_000
    counts: Counter[str] = Counter()
    for wanted in (
        Filter(caller=caller, since_ms=since_ms, error=True, unreplayed=True),
        Filter(caller=caller, since_ms=since_ms, states=frozenset({State.REJECTED}), unreplayed=True),
    ):
        for group in runtime.listing.newest_groups(plugin, wanted, at_most=_MOST_LOOKED_AT).groups:
            counts[f"{plugin}/{group.webhook_id}"] += group.count
    return [f"{name} ({count})" for name, count in sorted(counts.items())]
