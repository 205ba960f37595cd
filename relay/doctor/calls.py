"""Finds webhooks whose calls fail or wait for an operator, and replays that are paused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.doctor.finding import Finding, Level, judged, listed
from relay.store.counts.counts import FEWEST_ENDS, RECENT_MINUTES
from relay.store.replays.jobs import ReplayState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.store.ledger.policies import Traffic
    from relay.wiring.runtime import Runtime

_MOST_JOBS: Final = 1_000  # of a plugin, the newest


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
