"""Calls the operators' webhook when something is wrong, and once more when it is over. Runs in workers.

One script compares the present conditions with the previous ones, so that each change counts once, however many workers
check. The call is accepted under a reference id that is derived from the change, as for callbacks (ADR 0030).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from relay.accept.intake import TriggerRequest
from relay.domain.invocation import OwnCaller
from relay.domain.reference_id import reference_id_about
from relay.errors import Refused
from relay.queue import LANES
from relay.store.counts.measures import FEWEST_ENDS, NOTHING_COUNTED, RECENT_MINUTES
from relay.store.health.alerts import Alerts, Condition
from relay.store.health.workers import workers_by_lane
from relay.telemetry.log import Event, event
from relay.text.timestamps import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.accept.dispatcher import Dispatcher
    from relay.settings import Settings
    from relay.store.counts.backlog import Backlog
    from relay.store.counts.measures import Counts, Measures
    from relay.store.health.alerts import AlertChange
    from relay.store.health.workers import Workers
    from relay.store.ledger.policies import Policies
    from relay.store.registry.webhooks import Registry
    from relay.wiring.shared_runtime import SharedRuntime

#: How long, in milliseconds, a lane has to be without a worker before the alert fires: restarts take a moment.
LANE_HOLD_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class AlertRules:
    """Which webhook gets the alerts, and the bounds above which they fire."""

    plugin: str
    webhook_id: str
    failures_percent: int
    backlog_s: float

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return the rules from the settings; None if they name no webhook to tell."""
        if settings.alerts is None:
            return None
        plugin, webhook_id = settings.alerts.split("/")
        return cls(plugin, webhook_id, settings.alert_failures, settings.alert_backlog_s)


@dataclass(frozen=True, slots=True)
class AlertSources:
    """The parts of the store from which conditions are read."""

    registry: Registry
    measures: Measures
    policies: Policies
    backlog: Backlog
    workers: Workers


class Alerting:
    """Checks conditions and tells of changes, for one worker process. Raises `Unavailable` while the store is away."""

    def __init__(self, rules: AlertRules | None, alerts: Alerts, watched: AlertSources, dispatcher: Dispatcher) -> None:
        self._rules = rules
        self._alerts = alerts
        self._watched = watched
        self._dispatcher = dispatcher

    @classmethod
    def of(cls, runtime: SharedRuntime) -> Self:
        """Build it from the parts of a process."""
        sources = AlertSources(runtime.registry, runtime.measures, runtime.policies, runtime.backlog, runtime.workers)
        return cls(AlertRules.of(runtime.settings), Alerts(runtime.client), sources, runtime.dispatcher)

    def look(self) -> int:
        """Check the conditions, unless another worker does so now, and deliver the changes; return how many."""
        if self._rules is None or not self._alerts.take_lock():
            return 0
        served = workers_by_lane(self._watched.workers.alive(), LANES)
        changes = self._alerts.evaluate([*self._of_lanes(self._rules, served), *self._of_webhooks(self._rules)])
        if not changes:
            return 0
        calls = [_call(self._rules, change, awaited=served[LANES[0]] > 0) for change in changes]
        replies = self._dispatcher.trigger_many(calls)
        delivered = []
        for change, reply in zip(changes, replies, strict=True):
            if isinstance(reply, Exception) and not isinstance(reply, Refused):
                continue  # try again later
            event(Event.ALERT, level=logging.WARNING, alert=change.name, state=change.state)
            delivered.append(change)
        self._alerts.delete_delivered(delivered)
        return len(delivered)

    def _of_lanes(self, rules: AlertRules, served: dict[str, int]) -> Iterator[Condition]:
        for lane, count in served.items():
            yield Condition(f"lane_unserved {lane}", not count, {"lane": lane}, LANE_HOLD_MS)
        for backlog in self._watched.backlog.of(LANES):
            oldest_s = (backlog.oldest_ms or 0) / 1000
            detail = {"lane": backlog.lane, "value": round(oldest_s), "bound": rules.backlog_s}
            yield Condition(f"backlog_old {backlog.lane}", oldest_s > rules.backlog_s, detail)

    def _of_webhooks(self, rules: AlertRules) -> Iterator[Condition]:
        holding = [name.split(" ", 1)[1].split("/") for name in self._alerts.holding() if "/" in name]
        for plugin in self._watched.registry.plugins():
            counted = self._watched.measures.recent(plugin, RECENT_MINUTES)
            names = sorted({*counted, *(webhook for owner, webhook in holding if owner == plugin)})
            if plugin == rules.plugin:
                names = [name for name in names if name != rules.webhook_id]  # it gets no alerts about itself
            for webhook_id, traffic in zip(names, self._watched.policies.traffics(plugin, names), strict=True):
                about = {"plugin": plugin, "webhookId": webhook_id}
                yield Condition(f"breaker_open {plugin}/{webhook_id}", traffic.breaker != "closed", about)
                yield _failures(rules, about, counted.get(webhook_id, NOTHING_COUNTED))


def _failures(rules: AlertRules, about: dict[str, Any], counts: Counts) -> Condition:
    percent = counts.failed_percent
    holds = counts.ended >= FEWEST_ENDS and percent >= rules.failures_percent
    detail = {**about, "value": percent, "bound": rules.failures_percent}
    return Condition(f"failures {about['plugin']}/{about['webhookId']}", holds, detail)


_SENTENCES: Final = {
    "lane_unserved": "No worker serves the lane {lane}.",
    "backlog_old": "The oldest call in the lane {lane} has waited for {value} s.",
    "breaker_open": "The breaker of {plugin}/{webhookId} is open: its endpoint cannot be contacted.",
    "failures": "{value}% of the calls of {plugin}/{webhookId} failed in the last five minutes.",
}


def _call(rules: AlertRules, change: AlertChange, *, awaited: bool) -> TriggerRequest:
    kind = change.name.split(" ", 1)[0]
    sentence = _SENTENCES[kind].format_map(change.detail)
    data = {
        "alert": kind,
        "state": change.state,
        "message": sentence if change.state == "firing" else f"Over: {sentence}",
        "since": rfc3339(change.since_ms),
        **change.detail,
    }
    reference_id = reference_id_about(f"alert {change.change_id}", change.at_ms, rules.plugin)
    about = (rules.plugin, rules.webhook_id, {"data": data}, reference_id, OwnCaller.ALERT)
    return TriggerRequest(*about, awaited=awaited)  # through a lane that has a worker
