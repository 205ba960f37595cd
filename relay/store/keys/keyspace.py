"""Names the keys that Python uses, one function each; the scripts get the same names.

A key of a given partition, whichever plugins are in it, is named by `relay.store.keys.names.key_in`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from relay.domain.reference_id import bucket_of, bucket_of_plugin
from relay.store.keys.names import CHANNELS, DECISIONS, PREFIX, ROOT, SHARED, SHARED_ROOT, TRAIL, key_in, partition_root
from relay.store.partitions.spreading import Spread, T, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _shared(kind: str, **parts: object) -> str:
    return SHARED_ROOT + SHARED[kind].format(**parts)


@dataclass(frozen=True, slots=True)
class Keyspace:
    """Names every key of a store; a plugin's name, or an id that was made for it, determines the partition."""

    partitions: int = 1

    def partition_of(self, plugin: str) -> int:
        """Return the partition of a plugin."""
        return bucket_of_plugin(plugin) % self.partitions

    def partition_of_ref(self, reference_id: str) -> int:
        """Return the partition of an invocation or a replay job."""
        return bucket_of(reference_id) % self.partitions if self.partitions > 1 else 0

    def root(self, plugin: str) -> str:
        """Return the root of a plugin's keys."""
        return partition_root(self.partition_of(plugin)) if self.partitions > 1 else ROOT

    def root_of_ref(self, reference_id: str) -> str:
        """Return the root of the keys of an invocation or a replay job."""
        return partition_root(self.partition_of_ref(reference_id)) if self.partitions > 1 else ROOT

    def spread(self, items: Sequence[T], root_of: Callable[[T], str]) -> list[Spread[T]]:
        """Split the items by partition; each part keeps their order."""
        return spread(items, root_of) if self.partitions > 1 else [Spread(ROOT, items, range(len(items)))]

    def record(self, ref: str) -> str:
        """Hash: the record of an invocation."""
        return key_in(self.root_of_ref(ref), "record", ref=ref)

    def payload(self, ref: str) -> str:
        """String: the sealed trigger of an invocation."""
        return key_in(self.root_of_ref(ref), "payload", ref=ref)

    def result(self, ref: str) -> str:
        """String: the sealed data of an invocation's answer."""
        return key_in(self.root_of_ref(ref), "result", ref=ref)

    def steps(self, ref: str) -> str:
        """List: the reference ids of a chain's steps."""
        return key_in(self.root_of_ref(ref), "steps", ref=ref)

    def raw(self, ref: str) -> str:
        """String: the sealed data of a step's answer before masking, while its chain runs."""
        return key_in(self.root_of_ref(ref), "raw", ref=ref)

    def secrets(self, ref: str) -> str:
        """String: the sealed texts that a chain hides in its steps' answers, while it runs."""
        return key_in(self.root_of_ref(ref), "secrets", ref=ref)

    def callbacks(self, partition: int = 0) -> str:
        """Sorted set: ends that a callback is to be told of."""
        return key_in(partition_root(partition), "callbacks")

    def plugins(self, partition: int = 0) -> str:
        """Set: the plugins that exist."""
        return key_in(partition_root(partition), "plugins")

    def plugin_bytes(self, plugin: str) -> str:
        """Hash: the bytes of a plugin's contents, of unfinished invocations and kept ones."""
        return key_in(self.root(plugin), "plugin_bytes", plugin=plugin)

    def plugin_index(self, plugin: str) -> str:
        """Sorted set: a plugin's reference ids by createdAt."""
        return key_in(self.root(plugin), "plugin_index", plugin=plugin)

    def webhook_index(self, plugin: str, webhook: str) -> str:
        """Sorted set: a webhook's reference ids by createdAt."""
        return key_in(self.root(plugin), "webhook_index", plugin=plugin, webhook=webhook)

    def subject_key(self, plugin: str) -> str:
        """String: the sealed key of the keyed hashes of a plugin's subjects."""
        return key_in(self.root(plugin), "subject_key", plugin=plugin)

    def forgettings(self, partition: int = 0) -> str:
        """Sorted set: the jobs that forget subjects and are not done, and when to go on with each."""
        return key_in(partition_root(partition), "forgettings")

    def plugin_counts(self, plugin: str) -> str:
        """Hash: a plugin's counters."""
        return key_in(self.root(plugin), "plugin_counts", plugin=plugin)

    def notes(self, plugin: str) -> str:
        """List: events of a plugin's invocations that are not counted yet."""
        return key_in(self.root(plugin), "notes", plugin=plugin)

    def counted(self, plugin: str) -> str:
        """Integer: how many of a plugin's notes have been counted."""
        return key_in(self.root(plugin), "counted", plugin=plugin)

    def totals(self, plugin: str) -> str:
        """Hash: a plugin's counts and histograms by webhook."""
        return key_in(self.root(plugin), "totals", plugin=plugin)

    def minute(self, plugin: str, minute: int, webhook: str = "") -> str:
        """Hash: one minute's counts of a webhook, or of all webhooks."""
        return key_in(self.root(plugin), "minute", plugin=plugin, minute=minute, webhook=webhook)

    def hour(self, plugin: str, hour: int) -> str:
        """Hash: one hour's counts, by webhook."""
        return key_in(self.root(plugin), "hour", plugin=plugin, hour=hour)

    def webhooks(self, plugin: str) -> str:
        """Hash: a plugin's webhook ids and their current revisions."""
        return key_in(self.root(plugin), "webhooks", plugin=plugin)

    def revision(self, plugin: str, webhook: str, number: int) -> str:
        """Hash: one immutable revision of a registration."""
        return key_in(self.root(plugin), "revision", plugin=plugin, webhook=webhook, revision=number)

    def target(self, plugin: str, webhook: str, number: int) -> str:
        """String: the sealed target of a revision."""
        return key_in(self.root(plugin), "target", plugin=plugin, webhook=webhook, revision=number)

    def last_revision(self, plugin: str, webhook: str) -> str:
        """Integer: the highest revision ever given to a webhook id."""
        return key_in(self.root(plugin), "last_revision", plugin=plugin, webhook=webhook)

    def users(self, plugin: str, webhook: str) -> str:
        """Set: the webhooks that use a webhook, as a step or as their callback."""
        return key_in(self.root(plugin), "users", plugin=plugin, webhook=webhook)

    def access_token(self, plugin: str, webhook: str, revision: int) -> str:
        """String: the sealed access token of a webhook's revision."""
        return key_in(self.root(plugin), "access_token", plugin=plugin, webhook=webhook, revision=revision)

    def access_token_fetcher(self, plugin: str, webhook: str, revision: int) -> str:
        """String: the process that is fetching the next access token."""
        return key_in(self.root(plugin), "access_token_fetcher", plugin=plugin, webhook=webhook, revision=revision)

    def secret_names(self, plugin: str) -> str:
        """Set: the names of a plugin's secrets."""
        return key_in(self.root(plugin), "secret_names", plugin=plugin)

    def secret(self, plugin: str, secret: str) -> str:
        """String: the sealed values of a secret."""
        return key_in(self.root(plugin), "secret", plugin=plugin, secret=secret)

    def secret_settings(self, plugin: str, secret: str) -> str:
        """Sorted set: when and by whom a secret was set."""
        return key_in(self.root(plugin), "secret_settings", plugin=plugin, secret=secret)

    def secret_users(self, plugin: str, secret: str) -> str:
        """Set: the webhooks whose current revision refers to a secret."""
        return key_in(self.root(plugin), "secret_users", plugin=plugin, secret=secret)

    def running(self, plugin: str, webhook: str) -> str:
        """Sorted set: the places that a webhook's running calls hold."""
        return key_in(self.root(plugin), "running", plugin=plugin, webhook=webhook)

    def parked(self, plugin: str, webhook: str) -> str:
        """Sorted set: a webhook's parked calls by age."""
        return key_in(self.root(plugin), "parked", plugin=plugin, webhook=webhook)

    def open_calls(self, plugin: str, webhook: str) -> str:
        """Sorted set: a webhook's calls that are not final, by the time when each has to end."""
        return key_in(self.root(plugin), "open", plugin=plugin, webhook=webhook)

    def parked_webhooks(self, partition: int = 0) -> str:
        """Set: webhooks that have parked calls."""
        return key_in(partition_root(partition), "parked_webhooks")

    def revisits(self, partition: int = 0) -> str:
        """Set: webhooks whose waiting calls have to be gone through."""
        return key_in(partition_root(partition), "revisits")

    def policy(self, plugin: str, webhook: str) -> str:
        """Hash: a webhook's limits, pause, rate and breaker."""
        return key_in(self.root(plugin), "policy", plugin=plugin, webhook=webhook)

    def due_queued(self, lane: str, partition: int = 0) -> str:
        """Sorted set: alarms of a lane's queued ids."""
        return key_in(partition_root(partition), "due_queued", lane=lane)

    def backlog(self, minute: int, partition: int = 0) -> str:
        """Hash: the most calls that waited in each lane at once during one minute."""
        return key_in(partition_root(partition), "backlog", minute=minute)

    def pending(self, partition: int = 0) -> str:
        """Hash: ``count`` and ``bytes`` of all invocations that are not final."""
        return key_in(partition_root(partition), "pending")

    def replays(self, plugin: str) -> str:
        """Sorted set: a plugin's replay jobs by createdAt."""
        return key_in(self.root(plugin), "replays", plugin=plugin)

    def replay_plan(self, plugin: str, plan: str) -> str:
        """String: the plan of a replay."""
        return key_in(self.root(plugin), "replay_plan", plugin=plugin, plan=plan)

    def replay(self, replay_id: str) -> str:
        """Hash: a replay job."""
        return key_in(self.root_of_ref(replay_id), "replay", replay=replay_id)

    def alerts(self, plugin: str, kind: str = "alerts") -> str:
        """Hash: alerts that hold; `pending_alerts`: undelivered changes; `alerts_lock`: the lock of who is checking."""
        return key_in(self.root(plugin), kind, plugin=plugin)

    def sweeps(self, partition: int = 0) -> str:
        """Hash: how many sweeps there were, and how many ids they published."""
        return key_in(partition_root(partition), "sweeps")

    def counting_lock(self, partition: int = 0) -> str:
        """String: the lock of the worker that is counting notes."""
        return key_in(partition_root(partition), "counting_lock")


#: The keys of a store that has one partition.
SINGLE: Final = Keyspace()


def partitions() -> str:
    """Integer: how many partitions the store has."""
    return _shared("partitions")


def store_format() -> str:
    """Integer: the format of what the store holds."""
    return _shared("format")


def api_keys() -> str:
    """Set: the ids of all API keys."""
    return _shared("api_keys")


def api_key(key_id: str) -> str:
    """Hash: one API key, its secret as a SHA-256 only."""
    return _shared("api_key", key=key_id)


def api_key_uses() -> str:
    """Hash: when each API key was last used."""
    return _shared("api_key_uses")


def promotions() -> str:
    """Hash: when keys of the rings were retired."""
    return _shared("promotions")


def decisions(root: str = ROOT) -> str:
    """List: what was decided about the subjects of a root."""
    return root + DECISIONS


def audit(part: str, root: str = ROOT) -> str:
    """A key of a root's audit trail: ``entries``, ``head``, ``segments``, ``beginning`` or ``lock``."""
    return root + TRAIL[f"audit_{part}"]


def heads() -> str:
    """Channel: the newest heads of chains that each process has read."""
    return PREFIX + CHANNELS["heads"]


def notice(process: str) -> str:
    """Channel: notices for the waiters of an API process."""
    return PREFIX + CHANNELS["notice"].format(process=process)


def epoch() -> str:
    """Hash: from which backup the store was restored, and how far that is."""
    return _shared("epoch")


def workers() -> str:
    """Sorted set: worker processes by their last heartbeat."""
    return _shared("workers")


def clock_jump() -> str:
    """String: the last jump of the server's clock."""
    return _shared("clock_jump")


def worker_lanes() -> str:
    """Hash: the lanes that each worker process serves."""
    return _shared("worker_lanes")


def dropped_messages() -> str:
    """Hash: for each lane, how many things on it were not messages of the relay."""
    return _shared("dropped_messages")
