"""Composition root: settings in, wired objects out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from relay.accept.dispatcher import Dispatcher
from relay.alerts import Alerting
from relay.audit.actor import act_as_operator
from relay.audit.checkpointing import Checkpointing
from relay.callbacks import Telling
from relay.egress import AddressPolicy
from relay.errors import SettingsError
from relay.metrics.gathering import Gathering
from relay.metrics.reporting import Reporter
from relay.metrics.shown_calls import ShownCalls
from relay.queue import Publisher, make_app
from relay.registration.endpoint import EndpointRules
from relay.replay.planning import Replays
from relay.settings.kinds import broker_url
from relay.spans import Spans, make_spans
from relay.store.access_tokens import AccessTokenStore
from relay.store.act_notes import ActNotes
from relay.store.backlog import Backlog
from relay.store.callbacks import Callbacks
from relay.store.connection import connect
from relay.store.invocations import InvocationStore
from relay.store.keys import ApiKeys
from relay.store.limits import Limits
from relay.store.listing import Listing
from relay.store.measures import Measures
from relay.store.notices import Subscription
from relay.store.policies import Policies
from relay.store.registry import Registry
from relay.store.replay_runs import ReplayRuns
from relay.store.replays import ReplayStore
from relay.store.trail import trails
from relay.store.workers import Workers
from relay.traffic import TrafficControl
from relay.up.processes import DATA_KEYS, TARGET_KEYS
from relay.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from celery import Celery
    from redis import Redis

    from relay.executor import Executor
    from relay.metrics.page import MetricsPage
    from relay.outbound.transport import CurlTransport
    from relay.settings import Secret, Settings
    from relay.sweeper import Sweeper


class Runtime:
    """What a process of the relay is made of; each part is built when it is first asked for."""

    def __init__(self, settings: Settings, *, holds_target_keys: bool, app: Celery | None = None) -> None:
        self.settings = settings
        self._holds_target_keys = holds_target_keys
        self._app = app
        self.operator = ""  # whose acts these are, in a process that has one

    @cached_property
    def client(self) -> Redis:
        """The client of the store."""
        return connect(self.settings)

    @cached_property
    def policy(self) -> AddressPolicy:
        """What may be dialled."""
        settings = self.settings
        return AddressPolicy(settings.egress_allow, settings.egress_deny, settings.egress_ports)

    @cached_property
    def rules(self) -> EndpointRules:
        """What may be registered."""
        return EndpointRules(self.policy, frozenset(self.settings.extra_suffixes))

    @cached_property
    def data_vault(self) -> Vault:
        """Seals payloads and results."""
        if self.settings.data_keys is None:
            raise SettingsError("RELAY_DATA_KEYS is not set: payloads and results could not be sealed.")
        return self._vault(DATA_KEYS, self.settings.data_keys)

    @cached_property
    def target_vault(self) -> Vault | None:
        """Opens targets; None in a process that must not."""
        keys = self.settings.target_keys
        return self._vault(TARGET_KEYS, keys) if self._holds_target_keys and keys is not None else None

    def _vault(self, name: str, keys: Secret) -> Vault:
        """A vault that follows the file of its ring, where the ring is in one."""
        file = self.settings.files.get(name)
        return Vault.from_text(keys.reveal()) if file is None else Vault.from_file(file)

    @cached_property
    def registry(self) -> Registry:
        """Webhooks and their revisions."""
        return Registry(self.client, self.data_vault, self.target_vault)

    @cached_property
    def api_keys(self) -> ApiKeys:
        """API keys."""
        return ApiKeys(self.client, self.data_vault)

    @cached_property
    def limits(self) -> Limits:
        """How much may be pending, and how long ends are kept."""
        return Limits.from_settings(self.settings)

    @cached_property
    def store(self) -> InvocationStore:
        """The ledger."""
        margin_ms = int(self.settings.lease_margin_s * 1000)
        return InvocationStore(self.client, self.limits, lease_margin_ms=margin_ms, operator=self.operator)

    @cached_property
    def act_notes(self) -> ActNotes:
        """Entries of the audit trail about acts that no script does."""
        return ActNotes(self.client)

    @cached_property
    def workers(self) -> Workers:
        """Which workers live."""
        return Workers(self.client)

    @cached_property
    def listing(self) -> Listing:
        """Lists of invocations."""
        return Listing(self.client)

    @cached_property
    def replays(self) -> Replays:
        """Plans, starts and steers replays."""
        return Replays(self.replay_store, self.replay_runs, self.listing, self.publisher.publish_ready)

    @cached_property
    def replay_store(self) -> ReplayStore:
        """Replay jobs."""
        return ReplayStore(self.client, self.limits)

    @cached_property
    def replay_runs(self) -> ReplayRuns:
        """Plans and runs replay jobs."""
        return ReplayRuns(self.client, keep_ms=self.limits.failed_retention_ms, max_age_ms=self.limits.max_age_ms)

    @cached_property
    def policies(self) -> Policies:
        """Pauses and breakers."""
        return Policies(self.client, self.store)

    @cached_property
    def measures(self) -> Measures:
        """What was counted of invocations."""
        return Measures(self.client)

    @cached_property
    def backlog(self) -> Backlog:
        """What waits in the lanes."""
        return Backlog(self.client)

    @cached_property
    def metrics_page(self) -> MetricsPage:
        """What Prometheus reads."""
        from relay.metrics.page import MetricsPage  # noqa: PLC0415 - commands and workers do without

        return MetricsPage(
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
        """How webhooks' calls flow."""
        return TrafficControl(self.registry, self.policies, self.measures, self.publisher.publish_ready)

    @cached_property
    def publisher(self) -> Publisher:
        """Publishes reference ids."""
        settings = self.settings
        one_database = settings.broker_url == broker_url(settings.store_url.reveal())
        return Publisher(self._app or make_app(settings), in_store=one_database)

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """Accepts triggers."""
        return Dispatcher(self.registry, self.store, self.data_vault, self.publisher)

    def spans(self, process: str) -> Spans:
        """What is traced. Raises `SettingsError` where the extra is missing."""
        settings = self.settings
        return make_spans(settings.otlp_endpoint, process=process, percent=settings.otlp_percent)

    def subscribe(self, process: str) -> Subscription:
        """The notices of one API process."""
        return Subscription(connect(self.settings), process)


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker process runs."""

    executor: Executor
    sweeper: Sweeper
    workers: Workers
    reporter: Reporter
    spans: Spans
    transport: CurlTransport
    checkpointing: Sequence[Checkpointing]
    alerting: Alerting


def api_runtime(settings: Settings) -> Runtime:
    """For the API process, which never opens a target."""
    return Runtime(settings, holds_target_keys=False)


def cli_runtime(settings: Settings) -> Runtime:
    """For commands, which are their operator's acts."""
    runtime = Runtime(settings, holds_target_keys=True)
    runtime.operator = act_as_operator(settings.operator)
    return runtime


def worker_parts(settings: Settings, app: Celery, name: str, lanes: Collection[str]) -> WorkerParts:
    """For a worker process called ``name`` that serves ``lanes``.

    Raises:
        SettingsError: a key ring is missing.
    """
    # Only here: libcurl and gevent are loaded by workers alone.
    from relay.executor import Executor  # noqa: PLC0415
    from relay.executor.access_tokens import AccessTokens  # noqa: PLC0415
    from relay.executor.call_plans import CallPlans  # noqa: PLC0415
    from relay.executor.chain_standing import ChainStandings  # noqa: PLC0415
    from relay.executor.chain_turns import ChainTurns  # noqa: PLC0415
    from relay.executor.conclusion import Conclusion  # noqa: PLC0415
    from relay.executor.payloads import Payloads  # noqa: PLC0415
    from relay.executor.preparation import Preparation  # noqa: PLC0415
    from relay.executor.watch import CallWatch  # noqa: PLC0415
    from relay.outbound.sender import Sender  # noqa: PLC0415
    from relay.outbound.transport import CurlTransport  # noqa: PLC0415
    from relay.replay.running import Replaying  # noqa: PLC0415
    from relay.store.steps import Steps  # noqa: PLC0415
    from relay.sweeper import Sweeper  # noqa: PLC0415

    runtime = Runtime(settings, holds_target_keys=True, app=app)
    if runtime.target_vault is None:
        raise SettingsError("RELAY_TARGET_KEYS is not set: a worker could open no target.")
    transport = CurlTransport(
        runtime.policy,
        ca_file=settings.ca_file,
        max_response_bytes=settings.max_response_bytes,
        max_in_flight=settings.max_in_flight,
        proxy=None if settings.egress_proxy is None else settings.egress_proxy.reveal(),
    )
    sender = Sender(transport)
    tokens = AccessTokens(AccessTokenStore(runtime.client), sender, runtime.target_vault)
    plans = CallPlans(runtime.registry, runtime.policy)
    steps = Steps(runtime.client)
    vaults = runtime.data_vault, runtime.target_vault
    payloads = Payloads(*vaults)
    standings = ChainStandings(plans, runtime.store, steps, payloads, runtime.target_vault)
    turns = ChainTurns(plans, steps, standings, *vaults)
    gathering = Gathering(runtime.measures, name)
    shown, spans = ShownCalls(settings.flower_events), runtime.spans(name)
    executor = Executor(
        runtime.store,
        Preparation(plans, payloads, turns, tokens),
        sender,
        Conclusion(runtime.data_vault, turns, tokens),
        turns,
        Replaying(
            runtime.replay_runs,
            runtime.replay_store,
            runtime.registry,
            runtime.data_vault,
            runtime.publisher.publish_ready,
        ),
        CallWatch(gathering, shown, spans),
        max_in_flight=settings.max_in_flight,
        lanes=lanes,
        publish=runtime.publisher.publish_ready,
    )
    telling = Telling(Callbacks(runtime.client), runtime.dispatcher)
    sweeper = Sweeper(runtime.store, runtime.publisher, name, executor.run_here, tell=telling.tell)
    signing = [Checkpointing.with_settings(trail, settings, name) for trail in trails(runtime.client)]
    reporter = Reporter(gathering, runtime.measures, shown)
    return WorkerParts(executor, sweeper, runtime.workers, reporter, spans, transport, signing, Alerting.of(runtime))
