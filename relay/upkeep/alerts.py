"""Use case: call an operators' webhook when something is wrong, and once more when it is over. Workers do it.

What is wrong is compared with what was wrong before by one script, so that each change counts once however many workers
look. Telling is an accept of a reference id that follows from the change, as callbacks do it (ADR 0030).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from relay.accept.intake import TriggerRequest
from relay.errors import Refused
from relay.queue import LANES
from relay.reference_id import reference_id_about
from relay.store.alerts import Alerts, Condition
from relay.store.workers import workers_by_lane
from relay.telemetry.log import Event, event
from relay.text.moments import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.accept.dispatcher import Dispatcher
    from relay.runtime import Runtime
    from relay.settings import Settings
    from relay.store.alerts import AlertChange
    from relay.store.backlog import Backlog
    from relay.store.measures import Counts, Measures
    from relay.store.policies import Policies
    from relay.store.registry import Registry
    from relay.store.workers import Workers

#: What stands in the records of alerts where others have the id of their key.
CALLER: Final = "alert"
#: So far back a webhook's failures are looked at, and of so many ends at least.
WINDOW_MINUTES: Final = 5
FEWEST_ENDS: Final = 10
#: For so long a lane has no worker before that counts: processes are restarted.
LANE_HOLD_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class AlertRules:
    """Who is told, and from when on."""

    plugin: str
    webhook_id: str
    failures_percent: int
    backlog_s: float

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Make the rules that the settings give; None where nobody is to be told."""
        if settings.alerts is None:
            return None
        plugin, webhook_id = settings.alerts.split("/")
        return cls(plugin, webhook_id, settings.alert_failures, settings.alert_backlog_s)


@dataclass(frozen=True, slots=True)
class AlertSources:
    """Where it is seen what is wrong."""

    registry: Registry
    measures: Measures
    policies: Policies
    backlog: Backlog
    workers: Workers


class Alerting:
    """Looks and tells, for one worker process. Raises `Unavailable` while the store is away."""

    def __init__(self, rules: AlertRules | None, alerts: Alerts, watched: AlertSources, dispatcher: Dispatcher) -> None:
        self._rules = rules
        self._alerts = alerts
        self._watched = watched
        self._dispatcher = dispatcher

    @classmethod
    def of(cls, runtime: Runtime) -> Self:
        """Put together from what a process is made of."""
        sources = AlertSources(runtime.registry, runtime.measures, runtime.policies, runtime.backlog, runtime.workers)
        return cls(AlertRules.of(runtime.settings), Alerts(runtime.client), sources, runtime.dispatcher)

    def look(self) -> int:
        """Look, unless another process does for now, and tell of what has changed; returns of how many changes."""
        if self._rules is None or not self._alerts.take_lock():
            return 0
        served = workers_by_lane(self._watched.workers.alive(), LANES)
        changes = self._alerts.judge([*self._of_lanes(self._rules, served), *self._of_webhooks(self._rules)])
        if not changes:
            return 0
        calls = [_call(self._rules, change, awaited=served[LANES[0]] > 0) for change in changes]
        replies = self._dispatcher.trigger_many(calls)
        told = []
        for change, reply in zip(changes, replies, strict=True):
            if isinstance(reply, Exception) and not isinstance(reply, Refused):
                continue  # not now
            event(Event.ALERT, level=logging.WARNING, alert=change.name, state=change.state)
            told.append(change)
        self._alerts.told(told)
        return len(told)

    def _of_lanes(self, rules: AlertRules, served: dict[str, int]) -> Iterator[Condition]:
        for lane, count in served.items():
            yield Condition(f"lane_unserved {lane}", not count, {"lane": lane}, LANE_HOLD_MS)
        for backlog in self._watched.backlog.of(LANES):
            oldest_s = (backlog.oldest_ms or 0) / 1000
            detail = {"lane": backlog.lane, "value": round(oldest_s), "bound": rules.backlog_s}
            yield Condition(f"backlog_old {backlog.lane}", oldest_s > rules.backlog_s, detail)

    def _of_webhooks(self, rules: AlertRules) -> Iterator[Condition]:
        holding = [name.split(" ", 1)[1].split("/") for name in self._alerts.holding() if "/" in name]
        for plugin in self._watched.registry.plugins_at_rest():
            counted = self._watched.measures.recent(plugin, WINDOW_MINUTES)
            names = sorted({*counted, *(webhook for owner, webhook in holding if owner == plugin)})
            if plugin == rules.plugin:
                names = [name for name in names if name != rules.webhook_id]  # nobody is told of it by itself
            for webhook_id, traffic in zip(names, self._watched.policies.traffics(plugin, names), strict=True):
                about = {"plugin": plugin, "webhookId": webhook_id}
                yield Condition(f"breaker_open {plugin}/{webhook_id}", traffic.breaker != "closed", about)
                yield _failures(rules, about, counted.get(webhook_id))


def _failures(rules: AlertRules, about: dict[str, Any], counts: Counts | None) -> Condition:
    ends = sum(counts.final.values()) if counts is not None else 0
    percent = round(100 * counts.errors / ends) if counts is not None and ends else 0
    holds = ends >= FEWEST_ENDS and percent >= rules.failures_percent
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
    about = (rules.plugin, rules.webhook_id, {"data": data}, reference_id, CALLER)
    return TriggerRequest(*about, awaited=awaited, is_own=True)  # by a lane that somebody serves
