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
from relay.store.counts.counts import FEWEST_ENDS, NOTHING_COUNTED, RECENT_MINUTES
from relay.store.health.alerts import Alerts, Condition
from relay.store.health.workers import known_workers, workers_by_lane
from relay.store.partitions.reachable import Silence
from relay.telemetry.log import Event, event
from relay.text.timestamps import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from relay.settings import Settings
    from relay.store.counts.backlog import LaneBacklog
    from relay.store.counts.counts import Counts
    from relay.store.health.alerts import AlertChange
    from relay.wiring.shared_runtime import SharedRuntime

#: How long a lane has to be without a worker before the alert fires, in milliseconds: restarts take a moment.
LANE_HOLD_MS: Final = 10_000
#: How long a part of the store has to be silent, in milliseconds: a replica may take over first.
SILENCE_HOLD_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class AlertRules:
    """Which webhook gets the alerts, and the bounds above which they fire."""

    plugin: str
    webhook_id: str
    failures_percent: int
    backlog_s: float

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Make the rules from the settings; return None if these name no webhook for alerts."""
        if settings.alerts is None:
            return None
        plugin, webhook_id = settings.alerts.split("/")
        return cls(plugin, webhook_id, settings.alert_failures, settings.alert_backlog_s)


class Alerting:
    """Checks conditions and reports changes, for one worker process. Raises `Unavailable` while the store is away."""

    def __init__(self, rules: AlertRules, alerts: Alerts, runtime: SharedRuntime) -> None:
        self._rules = rules
        self._alerts = alerts
        self._runtime = runtime  # the parts that conditions are read from

    @classmethod
    def of(cls, runtime: SharedRuntime) -> Self | None:
        """Make it from the parts of a process; return None if the settings name no webhook for alerts."""
        rules = AlertRules.of(runtime.settings)
        return None if rules is None else cls(rules, Alerts(runtime.client, rules.plugin, runtime.keyspace), runtime)

    def look(self) -> int:
        """Check the conditions, unless another worker is doing so, and deliver the changes; return how many."""
        if not self._alerts.take_lock():
            return 0
        workers = known_workers(self._runtime.workers)
        served = None if workers is None else workers_by_lane(workers)
        changes = self._alerts.evaluate(list(self._conditions(served)))
        if not changes:
            return 0
        awaited = served is None or served[LANES[0]] > 0
        calls = [_call(self._rules, change, awaited=awaited) for change in changes]
        replies = self._runtime.dispatcher.trigger_many(calls)
        delivered = []
        for change, reply in zip(changes, replies, strict=True):
            if isinstance(reply, Exception) and not isinstance(reply, Refused):
                continue  # try again later
            event(Event.ALERT, level=logging.WARNING, alert=change.name, state=change.state)
            delivered.append(change)
        self._alerts.delete_delivered(delivered)
        return len(delivered)

    def _conditions(self, served: dict[str, int] | None) -> Iterator[Condition]:
        holding = self._alerts.holding()
        found = self._runtime.partitions.ask(lambda number: self._of_partition(number, holding))
        yield _silence(self._runtime.partitions.silence())
        for lane in LANES:
            unserved = None if served is None else not served[lane]
            yield Condition(f"lane_unserved {lane}", unserved, {"lane": lane}, LANE_HOLD_MS)
        for backlog in self._runtime.backlog.of(LANES):
            yield self._backlog(backlog, complete=found.complete)
        named = [condition for conditions in found for condition in conditions]
        yield from named
        known, registry = {condition.name for condition in named}, self._runtime.registry
        for name in (each for each in holding if "/" in each and each not in known):
            if registry.partition_of(_plugin_in(name)) in found.silent:
                yield Condition(name, None, {})

    def _backlog(self, backlog: LaneBacklog, *, complete: bool) -> Condition:
        oldest_s, bound_s = (backlog.oldest_ms or 0) / 1000, self._rules.backlog_s
        detail = {"lane": backlog.lane, "value": round(oldest_s), "bound": bound_s}
        return Condition(f"backlog_old {backlog.lane}", oldest_s > bound_s or (False if complete else None), detail)

    def _of_partition(self, number: int, holding: Sequence[str]) -> list[Condition]:
        """Return the conditions of a partition's webhooks that failed recently or have alerts that hold."""
        rules, conditions = self._rules, list[Condition]()
        held = [name.split(" ", 1)[1].split("/") for name in holding if "/" in name]
        for plugin in self._runtime.registry.plugins_in(number):
            counted = self._runtime.measures.recent(plugin, RECENT_MINUTES)
            names = sorted({*counted, *(webhook for owner, webhook in held if owner == plugin)})
            if plugin == rules.plugin:
                names = [name for name in names if name != rules.webhook_id]  # it gets no alerts about itself
            for webhook_id, traffic in zip(names, self._runtime.policies.traffics(plugin, names), strict=True):
                about = {"plugin": plugin, "webhookId": webhook_id}
                conditions += [
                    Condition(f"breaker_open {plugin}/{webhook_id}", traffic.breaker != "closed", about),
                    _failures(rules, about, counted.get(webhook_id, NOTHING_COUNTED)),
                ]
        return conditions


def _plugin_in(name: str) -> str:
    """Return the plugin in the name of an alert about a webhook."""
    return name.partition(" ")[2].partition("/")[0]


def _silence(silence: Silence) -> Condition:
    detail = {"partitions": list(silence.partitions), "sharedKeys": silence.shared}
    return Condition("partitions_silent", bool(silence), detail, SILENCE_HOLD_MS)


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


def _sentence(kind: str, detail: Mapping[str, Any]) -> str:
    if kind == "partitions_silent":
        return Silence(tuple(detail["partitions"]), detail["sharedKeys"]).sentence
    return _SENTENCES[kind].format_map(detail)


def _call(rules: AlertRules, change: AlertChange, *, awaited: bool) -> TriggerRequest:
    kind = change.name.split(" ", 1)[0]
    sentence = _sentence(kind, change.detail)
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
