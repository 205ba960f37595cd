"""Composition root of the API and of commands: adds to the parts of every process those that workers do without."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from relay.audit.actor import act_as_operator
from relay.registration.endpoint import EndpointRules
from relay.replay.planning import Replays
from relay.store.api_keys.keys import ApiKeys
from relay.store.ledger.listing import Listing
from relay.store.ledger.notices import Subscription
from relay.store.server.connection import connect
from relay.store.trail.writer import AuditWriter
from relay.traffic import TrafficControl
from relay.wiring.shared_runtime import SharedRuntime

if TYPE_CHECKING:
    from relay.metrics.page import MetricsPage
    from relay.settings import Settings


class Runtime(SharedRuntime):
    """The parts of the API's process, or of a command's; each is built on first use."""

    @cached_property
    def rules(self) -> EndpointRules:
        """The rules for URLs that are registered."""
        return EndpointRules(self.policy, frozenset(self.settings.extra_suffixes))

    @cached_property
    def api_keys(self) -> ApiKeys:
        """API keys."""
        return ApiKeys(self.client, self.data_vault, self.keyspace, self.decisions.shared)

    @cached_property
    def audit_writer(self) -> AuditWriter:
        """Writes audit entries about acts that no script does."""
        return AuditWriter(self.client, self.keyspace)

    @cached_property
    def listing(self) -> Listing:
        """Lists of invocations."""
        return Listing(self.client, self.keyspace)

    @cached_property
    def replays(self) -> Replays:
        """Plans, starts and steers replays."""
        return Replays(self.replay_store, self.replay_runs, self.listing, self.publisher.publish_ready)

    @cached_property
    def metrics_page(self) -> MetricsPage:
        """The page that Prometheus reads."""
        from relay.metrics.page import MetricsPage  # noqa: PLC0415 - commands do without

        return MetricsPage(
            self.partitions,
            self.registry,
            self.store,
            self.measures,
            self.policies,
            self.backlog,
            self.workers,
            max_webhooks=self.settings.metrics_webhooks,
        )

    @cached_property
    def traffic(self) -> TrafficControl:
        """Shows how webhooks' calls flow, stops them and starts them again."""
        return TrafficControl(self.registry, self.policies, self.measures, self.publisher.publish_ready)

    def subscribe(self, process: str) -> Subscription:
        """Subscribe to the notices of one API process."""
        return Subscription(connect(self.settings), process, self.keyspace)


def api_runtime(settings: Settings) -> Runtime:
    """Make the runtime of the API process, which never opens a target."""
    return Runtime(settings, holds_target_keys=False)


def cli_runtime(settings: Settings) -> Runtime:
    """Make the runtime of a command, whose acts are its operator's."""
    runtime = Runtime(settings, holds_target_keys=True)
    runtime.operator = act_as_operator(settings.operator)
    return runtime
