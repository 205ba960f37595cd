"""Names the Redis keys that tests look at, one function each, in a store with one partition."""

from __future__ import annotations

from typing import Final

from relay.store.keys.keyspace import Keyspace
from relay.store.keys.names import ROOT, key_in, partition_root


class StoreKeys(Keyspace):
    """Names every key that tests look at."""

    __slots__ = ()

    def record(self, ref: str) -> str:
        return key_in(self.root_of_ref(ref), "record", ref=ref)

    def payload(self, ref: str) -> str:
        return key_in(self.root_of_ref(ref), "payload", ref=ref)

    def result(self, ref: str) -> str:
        return key_in(self.root_of_ref(ref), "result", ref=ref)

    def steps(self, ref: str) -> str:
        return key_in(self.root_of_ref(ref), "steps", ref=ref)

    def raw(self, ref: str) -> str:
        return key_in(self.root_of_ref(ref), "raw", ref=ref)

    def secrets(self, ref: str) -> str:
        return key_in(self.root_of_ref(ref), "secrets", ref=ref)

    def callbacks(self, partition: int = 0) -> str:
        return key_in(partition_root(partition), "callbacks")

    def plugins(self, partition: int = 0) -> str:
        return key_in(partition_root(partition), "plugins")

    def plugin_bytes(self, plugin: str) -> str:
        return key_in(self.root(plugin), "plugin_bytes", plugin=plugin)

    def plugin_index(self, plugin: str) -> str:
        return key_in(self.root(plugin), "plugin_index", plugin=plugin)

    def webhook_index(self, plugin: str, webhook: str) -> str:
        return key_in(self.root(plugin), "webhook_index", plugin=plugin, webhook=webhook)

    def subject_key(self, plugin: str) -> str:
        return key_in(self.root(plugin), "subject_key", plugin=plugin)

    def notes(self, plugin: str) -> str:
        return key_in(self.root(plugin), "notes", plugin=plugin)

    def totals(self, plugin: str) -> str:
        return key_in(self.root(plugin), "totals", plugin=plugin)

    def minute(self, plugin: str, minute: int, webhook: str = "") -> str:
        return key_in(self.root(plugin), "minute", plugin=plugin, minute=minute, webhook=webhook)

    def hour(self, plugin: str, hour: int) -> str:
        return key_in(self.root(plugin), "hour", plugin=plugin, hour=hour)

    def webhooks(self, plugin: str) -> str:
        return key_in(self.root(plugin), "webhooks", plugin=plugin)

    def revision(self, plugin: str, webhook: str, number: int) -> str:
        return key_in(self.root(plugin), "revision", plugin=plugin, webhook=webhook, revision=number)

    def target(self, plugin: str, webhook: str, number: int) -> str:
        return key_in(self.root(plugin), "target", plugin=plugin, webhook=webhook, revision=number)

    def last_revision(self, plugin: str, webhook: str) -> str:
        return key_in(self.root(plugin), "last_revision", plugin=plugin, webhook=webhook)

    def users(self, plugin: str, webhook: str) -> str:
        return key_in(self.root(plugin), "users", plugin=plugin, webhook=webhook)

    def access_token(self, plugin: str, webhook: str, revision: int) -> str:
        return key_in(self.root(plugin), "access_token", plugin=plugin, webhook=webhook, revision=revision)

    def access_token_fetcher(self, plugin: str, webhook: str, revision: int) -> str:
        return key_in(self.root(plugin), "access_token_fetcher", plugin=plugin, webhook=webhook, revision=revision)

    def secret(self, plugin: str, secret: str) -> str:
        return key_in(self.root(plugin), "secret", plugin=plugin, secret=secret)

    def running(self, plugin: str, webhook: str) -> str:
        return key_in(self.root(plugin), "running", plugin=plugin, webhook=webhook)

    def parked(self, plugin: str, webhook: str) -> str:
        return key_in(self.root(plugin), "parked", plugin=plugin, webhook=webhook)

    def open_calls(self, plugin: str, webhook: str) -> str:
        return key_in(self.root(plugin), "open", plugin=plugin, webhook=webhook)

    def parked_webhooks(self, partition: int = 0) -> str:
        return key_in(partition_root(partition), "parked_webhooks")

    def policy(self, plugin: str, webhook: str) -> str:
        return key_in(self.root(plugin), "policy", plugin=plugin, webhook=webhook)

    def due_queued(self, lane: str, partition: int = 0) -> str:
        return key_in(partition_root(partition), "due_queued", lane=lane)

    def backlog(self, minute: int, partition: int = 0) -> str:
        return key_in(partition_root(partition), "backlog", minute=minute)

    def pending(self, partition: int = 0) -> str:
        return key_in(partition_root(partition), "pending")

    def replays(self, plugin: str) -> str:
        return key_in(self.root(plugin), "replays", plugin=plugin)

    def replay(self, replay_id: str) -> str:
        return key_in(self.root_of_ref(replay_id), "replay", replay=replay_id)

    def alerts(self, plugin: str, kind: str = "alerts") -> str:
        return key_in(self.root(plugin), kind, plugin=plugin)

    def counting_lock(self, partition: int = 0) -> str:
        return key_in(partition_root(partition), "counting_lock")

    def ages(self) -> str:
        return key_in(ROOT, "ages")

    def due_running(self) -> str:
        return key_in(ROOT, "due_running")

    def expiry(self) -> str:
        return key_in(ROOT, "expiry")

    def plugin_pending(self, plugin: str) -> str:
        return key_in(ROOT, "plugin_pending", plugin=plugin)


KEYS: Final = StoreKeys()
