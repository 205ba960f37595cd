"""Composition root of every process: makes wired objects from settings.

`worker_runtime` adds those that only workers have, `runtime` those that only the API and commands have.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from relay.accept.dispatcher import Dispatcher
from relay.egress import AddressPolicy
from relay.errors import SettingsError
from relay.queue import Publisher, is_one_database, make_app
from relay.settings.names import DATA_KEYS, TARGET_KEYS
from relay.store.backups.epoch import Epochs
from relay.store.counts.backlog import Backlog
from relay.store.counts.measures import Measures
from relay.store.decisions.every import EveryDecision
from relay.store.decisions.heads import Heads
from relay.store.health.workers import Workers
from relay.store.keys.keyspace import Keyspace
from relay.store.ledger.invocations import InvocationStore
from relay.store.ledger.limits import Limits
from relay.store.ledger.policies import Policies
from relay.store.partitions.number import agreed_client, partitions_of
from relay.store.partitions.reachable import Partitions
from relay.store.registry.webhooks import Registry
from relay.store.replays.jobs import ReplayStore
from relay.store.replays.runs import ReplayRuns
from relay.store.scripting.loading import Functions
from relay.store.subjects.forgetting import Forgetting
from relay.store.subjects.hashes import SubjectHashes
from relay.vault import Vault

if TYPE_CHECKING:
    from celery import Celery
    from redis import Redis

    from relay.settings import Secret, Settings


class SharedRuntime:
    """The parts that every process of the relay has; each is built on first use."""

    def __init__(self, settings: Settings, *, holds_target_keys: bool, app: Celery | None = None) -> None:
        self.settings = settings
        self._holds_target_keys = holds_target_keys
        self._app = app
        self.operator = ""  # the actor of this process's acts, if it runs a command

    def close(self) -> None:
        """End its threads and connections; nothing that was built may be used afterwards."""
        built = self.__dict__
        for part in ("dispatcher", "publisher", "client"):
            if part in built:
                built[part].close()

    @cached_property
    def client(self) -> Redis:
        """The client of the store. Raises `SettingsError` if the store has another number of partitions."""
        return agreed_client(self.settings)

    @cached_property
    def keyspace(self) -> Keyspace:
        """The names of the store's keys."""
        return Keyspace(partitions_of(self.settings))

    @cached_property
    def partitions(self) -> Partitions:
        """The partitions of the store."""
        return Partitions(self.client, self.keyspace)

    @cached_property
    def policy(self) -> AddressPolicy:
        """The policy that judges which addresses may be dialled."""
        settings = self.settings
        return AddressPolicy(settings.egress_allow, settings.egress_deny, settings.egress_ports)

    @cached_property
    def data_vault(self) -> Vault:
        """Seals payloads and results."""
        if self.settings.data_keys is None:
            raise SettingsError(
                "RELAY_DATA_KEYS is not set: give this process the data key ring (or RELAY_DATA_KEYS_FILE)."
            )
        return self._vault(DATA_KEYS, self.settings.data_keys)

    @cached_property
    def target_vault(self) -> Vault | None:
        """Opens targets; None in a process that must not open any."""
        keys = self.settings.target_keys
        return self._vault(TARGET_KEYS, keys) if self._holds_target_keys and keys is not None else None

    def _vault(self, name: str, keys: Secret) -> Vault:
        """Make a vault; if its key ring is in a file, it follows the file's changes."""
        file = self.settings.files.get(name)
        return Vault.from_text(keys.reveal()) if file is None else Vault.from_file(file)

    @cached_property
    def decisions(self) -> EveryDecision:
        """What was decided about API keys and webhooks."""
        return EveryDecision(self.client, self.data_vault, self.keyspace)

    @cached_property
    def heads(self) -> Heads:
        """The channel on which processes tell each other how far they have read the chains."""
        return Heads(self.client, self.data_vault)

    @cached_property
    def registry(self) -> Registry:
        """Webhooks and their revisions."""
        return Registry(self.client, self.data_vault, self.target_vault, self.keyspace, self.decisions)

    @cached_property
    def limits(self) -> Limits:
        """How much may be pending, and how long final records are kept."""
        return Limits.from_settings(self.settings)

    @cached_property
    def store(self) -> InvocationStore:
        """The ledger."""
        return InvocationStore(
            self.client,
            self.limits,
            lease_margin_ms=int(self.settings.lease_margin_s * 1000),
            operator=self.operator,
            keys=self.keyspace,
        )

    @cached_property
    def functions(self) -> Functions:
        """The relay's functions on the servers of the store."""
        return Functions(self.client)

    @cached_property
    def epochs(self) -> Epochs:
        """The epoch of the store, and its fence after a restore."""
        return Epochs(self.client, self.data_vault, self.keyspace)

    @cached_property
    def workers(self) -> Workers:
        """The list of live workers."""
        return Workers(self.client)

    @cached_property
    def replay_store(self) -> ReplayStore:
        """Replay jobs."""
        return ReplayStore(self.client, self.limits, self.keyspace)

    @cached_property
    def replay_runs(self) -> ReplayRuns:
        """Plans and runs replay jobs."""
        return ReplayRuns(
            self.client,
            keep_ms=self.limits.failed_retention_ms,
            max_age_ms=self.limits.max_age_ms,
            keys=self.keyspace,
        )

    @cached_property
    def subject_hashes(self) -> SubjectHashes:
        """Keyed hashes of whom invocations concern."""
        return SubjectHashes(self.client, self.data_vault, self.keyspace)

    @cached_property
    def forgetting(self) -> Forgetting:
        """Jobs that forget subjects."""
        return Forgetting(self.client, self.keyspace)

    @cached_property
    def policies(self) -> Policies:
        """Pauses and breakers."""
        return Policies(self.client, self.store, self.decisions, self.keyspace)

    @cached_property
    def measures(self) -> Measures:
        """The counts of invocations."""
        return Measures(self.client, self.keyspace)

    @cached_property
    def backlog(self) -> Backlog:
        """The counts of calls that wait in the lanes."""
        return Backlog(self.client, self.keyspace)

    @cached_property
    def publisher(self) -> Publisher:
        """Lets ready calls wait for workers."""
        settings = self.settings
        return Publisher(self._app or make_app(settings), self.store.waiting, in_store=is_one_database(settings))

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """Accepts triggers."""
        return Dispatcher(self.registry, self.store, self.data_vault, self.subject_hashes, self.publisher)
