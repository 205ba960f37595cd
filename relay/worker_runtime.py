"""Composition root of a worker process: what it runs, wired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.alerts import Alerting
from relay.audit.checkpointing import Checkpointing
from relay.callbacks import Telling
from relay.errors import SettingsError
from relay.metrics.gathering import Gathering
from relay.metrics.reporting import Reporter
from relay.metrics.shown_calls import ShownCalls
from relay.runtime import Runtime
from relay.store.access_tokens import AccessTokenStore
from relay.store.callbacks import Callbacks
from relay.store.trail import trails

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from celery import Celery

    from relay.executor import Executor
    from relay.outbound.transport import CurlTransport
    from relay.settings import Settings
    from relay.spans import Spans
    from relay.store.workers import Workers
    from relay.sweeper import Sweeper


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
    tokens = AccessTokens(AccessTokenStore(runtime.client, runtime.keyspace), sender, runtime.target_vault)
    plans = CallPlans(runtime.registry, runtime.policy)
    steps = Steps(runtime.client, runtime.keyspace)
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
    telling = Telling(Callbacks(runtime.client, runtime.keyspace), runtime.dispatcher, runtime.registry)
    sweeper = Sweeper(runtime.store, runtime.publisher, name, executor.run_here, tell=telling.tell)
    signing = [Checkpointing.with_settings(trail, settings, name) for trail in trails(runtime.client, runtime.keyspace)]
    reporter = Reporter(gathering, runtime.measures, shown)
    return WorkerParts(executor, sweeper, runtime.workers, reporter, spans, transport, signing, Alerting.of(runtime))
