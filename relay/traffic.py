"""Shows how the calls of a plugin's webhooks flow, stops them and starts them again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.errors import WebhookNotRegistered
from relay.store.counts.webhooks import WebhookCounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.store.counts.measures import Measures
    from relay.store.ledger.policies import Policies, Traffic
    from relay.store.ledger.transitions import Ready
    from relay.store.registry.revisions import StoredRevision
    from relay.store.registry.webhooks import Registry


@dataclass(frozen=True, slots=True)
class WebhookTraffic:
    """A registered webhook, its counts, and the present state of its calls."""

    registered: StoredRevision
    counts: WebhookCounts
    now: Traffic


@dataclass(frozen=True, slots=True)
class TrafficReport:
    """A plugin's webhooks by id; the counts of the day are from ``since_ms`` on."""

    since_ms: int
    webhooks: list[WebhookTraffic]


class TrafficControl:
    """Shows and steers webhooks' calls for operators. Every method raises `Unavailable` while the store is away."""

    def __init__(
        self, registry: Registry, policies: Policies, measures: Measures, publish: Callable[[Ready], object]
    ) -> None:
        self._registry = registry
        self._policies = policies
        self._measures = measures
        self._publish = publish

    def report(self, plugin: str) -> TrafficReport:
        """Report on every registered webhook of a plugin."""
        return self._report(plugin, self._registry.shapes(plugin))

    def pause(self, plugin: str, webhook_id: str) -> WebhookTraffic:
        """Pause a webhook, so that none of its calls is sent. Raises `WebhookNotRegistered`."""
        registered = self._registered(plugin, webhook_id)
        self._policies.pause(plugin, webhook_id)
        return self._one(plugin, registered)

    def resume(self, plugin: str, webhook_id: str) -> WebhookTraffic:
        """Send a webhook's calls again, the oldest first. Raises `WebhookNotRegistered`."""
        registered = self._registered(plugin, webhook_id)
        for ready in self._policies.resume(plugin, webhook_id):
            self._publish(ready)
        return self._one(plugin, registered)

    def close_breaker(self, plugin: str, webhook_id: str) -> WebhookTraffic:
        """Close a webhook's breaker, so that its calls are sent again. Raises `WebhookNotRegistered`."""
        registered = self._registered(plugin, webhook_id)
        for ready in self._policies.close_breaker(plugin, webhook_id):
            self._publish(ready)
        return self._one(plugin, registered)

    def _registered(self, plugin: str, webhook_id: str) -> StoredRevision:
        found = next((each for each in self._registry.shapes(plugin) if each.shape.webhook_id == webhook_id), None)
        if found is None:
            raise WebhookNotRegistered
        return found

    def _one(self, plugin: str, registered: StoredRevision) -> WebhookTraffic:
        return self._report(plugin, [registered]).webhooks[0]

    def _report(self, plugin: str, registered: list[StoredRevision]) -> TrafficReport:
        counted = self._measures.webhooks(plugin)
        now = self._policies.traffics(plugin, [each.shape.webhook_id for each in registered])
        rows = [
            WebhookTraffic(each, counted.by_webhook.get(each.shape.webhook_id, WebhookCounts()), traffic)
            for each, traffic in zip(registered, now, strict=True)
        ]
        return TrafficReport(counted.since_ms, rows)
