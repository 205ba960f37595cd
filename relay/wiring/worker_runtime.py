"""Composition root of a worker process: makes and wires its parts.

Importing it loads libcurl and gevent, which only workers and the one command that makes a call itself need.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from relay.errors import SettingsError
from relay.executor import Executor
from relay.executor.access_tokens import AccessTokens
from relay.executor.call_plans import CallPlans
from relay.executor.chain_evaluation import ChainEvaluator
from relay.executor.chain_states import ChainStates
from relay.executor.conclusion import Conclusion
from relay.executor.payloads import Payloads
from relay.executor.preparation import Preparation
from relay.executor.watch import CallWatch
from relay.metrics.gathering import Gathering, Reporter
from relay.metrics.shown_calls import ShownCalls
from relay.outbound.sender import Sender
from relay.outbound.transport import CurlTransport
from relay.process import descriptors
from relay.replay.running import Replaying
from relay.store.ledger.callbacks import Callbacks
from relay.store.ledger.steps import Steps
from relay.store.registry.access_tokens import AccessTokenStore
from relay.store.trail.trail import trails
from relay.telemetry.spans import make_spans
from relay.upkeep.alerts import Alerting
from relay.upkeep.callbacks import CallbackSender
from relay.upkeep.checkpointing import Checkpointing
from relay.upkeep.forgetting import forget_due
from relay.upkeep.sweeper import Sweeper
from relay.upkeep.watching import Watching, watchings
from relay.wiring.shared_runtime import SharedRuntime

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from celery import Celery

    from relay.settings import Settings
    from relay.telemetry.spans import Spans
    from relay.vault import Vault


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """The parts of a worker process."""

    executor: Executor
    sweeper: Sweeper
    reporter: Reporter
    spans: Spans
    transport: CurlTransport
    checkpointing: Sequence[Checkpointing]
    watching: Sequence[Watching]
    alerting: Alerting | None  # None: nobody is to be told
    runtime: SharedRuntime

    def close(self) -> None:
        """Close connections, including those to endpoints, and end threads."""
        self.transport.close()
        self.runtime.close()


def worker_parts(settings: Settings, app: Celery, name: str, lanes: Collection[str]) -> WorkerParts:
    """Make the parts of a worker process called ``name`` that serves ``lanes``.

    Raises:
        SettingsError: a key ring is missing, or the system does not allow as many connections as calls in flight.
    """
    runtime = SharedRuntime(settings, holds_target_keys=True, app=app)
    if runtime.target_vault is None:
        raise SettingsError(
            "RELAY_TARGET_KEYS is not set: give workers the target key ring (or RELAY_TARGET_KEYS_FILE)."
        )
    descriptors.allow_calls(settings.max_in_flight)
    transport = _transport(runtime)
    gathering, shown = Gathering(runtime.measures, name), ShownCalls(settings.flower_events)
    spans = make_spans(settings, name)
    executor = _executor(runtime, runtime.target_vault, Sender(transport), CallWatch(gathering, shown, spans), lanes)
    checkpointing = [
        Checkpointing.with_settings(trail, runtime.epochs, settings, name)
        for trail in trails(runtime.client, runtime.keyspace)
    ]
    callbacks = CallbackSender(runtime.partitions, Callbacks(runtime.client), runtime.dispatcher, runtime.registry)
    return WorkerParts(
        executor,
        Sweeper(
            runtime.store,
            runtime.publisher,
            runtime.partitions,
            send_due=callbacks.send_due,
            forget_due=partial(forget_due, runtime.forgetting, runtime.partitions),
            workers_alive=lambda: runtime.workers.number_alive,
        ),
        Reporter(gathering, runtime.measures, shown),
        spans,
        transport,
        checkpointing,
        watchings(name, runtime.decisions, runtime.heads, runtime.policies, checkpointing),
        Alerting.of(runtime),
        runtime,
    )


def _transport(runtime: SharedRuntime) -> CurlTransport:
    settings = runtime.settings
    return CurlTransport(
        runtime.policy,
        ca_file=settings.ca_file,
        max_response_bytes=settings.max_response_bytes,
        max_in_flight=settings.max_in_flight,
        proxy=None if settings.egress_proxy is None else settings.egress_proxy.reveal(),
    )


def _executor(
    runtime: SharedRuntime, target_vault: Vault, sender: Sender, watch: CallWatch, lanes: Collection[str]
) -> Executor:
    tokens = AccessTokens(AccessTokenStore(runtime.client, runtime.keyspace), sender, target_vault)
    plans = CallPlans(runtime.registry, runtime.policy)
    payloads = Payloads(runtime.data_vault, target_vault)
    steps = Steps(runtime.client, runtime.keyspace)
    chain_states = ChainStates(plans, runtime.store, steps, payloads, target_vault)
    evaluator = ChainEvaluator(plans, steps, chain_states, runtime.data_vault, target_vault)
    publish_ready = runtime.publisher.publish_ready
    replaying = Replaying(
        runtime.replay_runs, runtime.replay_store, runtime.registry, runtime.data_vault, publish_ready
    )
    return Executor(
        runtime.store,
        runtime.decisions,
        Preparation(plans, payloads, evaluator, tokens),
        sender,
        Conclusion(runtime.data_vault, evaluator, tokens),
        evaluator,
        replaying,
        watch,
        max_in_flight=runtime.settings.max_in_flight,
        lanes=lanes,
        publisher=runtime.publisher,
    )
