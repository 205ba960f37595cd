"""Finds calls of the relay itself that failed: alerts and callbacks."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from relay.doctor.finding import Finding, Level, judged, listed
from relay.domain.invocation import OwnCaller, State
from relay.errors import Unavailable
from relay.store.ledger.listing import Filter
from relay.store.server.availability import going_on_without

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.wiring.runtime import Runtime

#: How far back, in hours, failures count, unless a replay has made them good.
HOURS: Final = 24
_MOST_LOOKED_AT: Final = 10_000  # of a plugin's failures, the newest
_ALERTS: Final = "alerts"


def examine_alerts(runtime: Runtime) -> Finding:
    """Check that alerts go to a registered webhook, and that those of the last day arrived."""
    name = runtime.settings.alerts
    if name is None:
        unset = "RELAY_ALERTS is not set: nobody is told when calls fail or a lane has no worker"
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
