"""Moves the plugins of a bucket to another partition.

A move marks the bucket, sets its entries in shared keys aside, copies its keys, switches over and deletes the old keys.
It may be stopped at any point; asking for the same move again continues it. Until the last key is copied the source
is authoritative, afterwards the copy is.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from relay.errors import BadParameter, Conflict, RelayError
from relay.reference_id import bucket_of_plugin
from relay.store.aside import SetAside
from relay.store.bucket_keys import bucket_of_key
from relay.store.bucket_locations import LEFT, WRITTEN, BucketLocation, MoveStep, location_in, read_table, table_key
from relay.store.key_copying import KEYS, copy_keys
from relay.store.key_names import key_in, partition_root
from relay.store.replicas import Replicas, on_primary, primary_of
from relay.store.server_errors import store_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from relay.store.transitions import Ready

#: How long, in seconds, a move waits after it has marked a bucket. By then every process has read the mark, and
#: every operation that began before it has ended.
LEARNT_S: Final = 20.0

#: How long, in milliseconds, an interrupted mover keeps others from continuing its move.
LOCK_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Move:
    """A finished move: the plugins of the bucket, both partitions, and how many keys were deleted from the source."""

    plugins: tuple[str, ...]
    source: int
    target: int
    keys: int


class PluginMoves:
    """Moves plugins. Every method raises `Unavailable` while a server that it needs is away; call it again later."""

    def __init__(
        self,
        client: redis.Redis,
        partitions: int,
        replicas: int = 0,
        *,
        learnt_s: float = LEARNT_S,
        lock_ms: int = LOCK_MS,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client: Any = client
        self._partitions = partitions
        self._replicas = Replicas(client, replicas)
        self._learnt_s = learnt_s
        self._lock_ms = lock_ms
        self._lock = "", b""
        self._wait = wait

    def move(self, plugin: str, target: int | None = None) -> Move:
        """Move a plugin, and the others of its bucket, to a partition; by default to the one in which the bucket began.

        Raises:
            BadParameter: there is no such partition.
            Conflict: a webhook of the bucket's plugins is not paused, calls of them are being sent, or the bucket is
                being moved to another partition or by another process.
        """
        bucket = bucket_of_plugin(plugin)
        target = bucket % self._partitions if target is None else target
        if self._partitions == 1:
            raise BadParameter("The store has one partition: set RELAY_PARTITIONS for every process first.")
        if not 0 <= target < self._partitions:
            raise BadParameter(f"The store has the partitions 0 to {self._partitions - 1}.")
        with store_errors(), self._locked(bucket):
            self._clear_what_is_left(bucket)
            location = self._location(bucket)
            if location.step and location.number != target:
                raise Conflict(
                    f"It is being moved to partition {location.number}: finish that first (`--to {location.number}`)."
                )
            if not location.step and location.number == target:
                return Move(self._plugins(bucket, target), target, target, 0)
            if not location.step:
                self._refuse_unless_quiet(bucket, location.number)
                location = BucketLocation(target, MoveStep.COPYING, location.number)
                self._write(bucket, location)
            return self._go_on(bucket, location)

    def queued(self, plugin: str, number: int) -> Iterator[Ready]:
        """Yield the calls of a bucket that wait in a partition for a worker, in pieces, for the caller to publish.

        While the bucket was moved, workers could not use the messages that carried them.
        """
        with store_errors():
            yield from SetAside(self._server(number), bucket_of_plugin(plugin), number).queued()

    @contextmanager
    def _locked(self, bucket: int) -> Iterator[None]:
        """Keep other processes from moving the bucket: a second mover would overwrite keys that are already in use."""
        home = bucket % self._partitions
        key, mine = key_in(partition_root(home), "move_lock", bucket=bucket), uuid4().hex.encode()
        server = self._server(home)
        if not server.set(key, mine, nx=True, px=self._lock_ms):
            raise Conflict("Another process is moving it, or was stopped less than a minute ago: try again later.")
        self._lock = key, mine
        try:
            yield
        except RelayError:  # the move ended with this error, so that the next one need not wait
            server.delete(key)
            raise
        server.delete(key)

    def _extend_lock(self, bucket: int) -> None:
        """Extend the lock; raise `Conflict` if it has expired, so that another process may have taken over."""
        key, mine = self._lock
        server = self._server(bucket % self._partitions)
        if server.get(key) != mine:
            raise Conflict("It took too long, and another process may be moving it: try again in a minute.")
        server.pexpire(key, self._lock_ms)

    def knows(self, plugin: str) -> bool:
        """Return whether the plugin exists, even if it is being moved."""
        bucket = bucket_of_plugin(plugin)
        with store_errors():
            location = self._location(bucket)
            where = {location.number, location.number if location.source is None else location.source}
            return any(plugin in self._plugins(bucket, number) for number in where)

    def _go_on(self, bucket: int, location: BucketLocation) -> Move:
        source, target = int(location.source or 0), location.number
        if location.step is MoveStep.COPYING:
            self._wait(self._learnt_s)
            self._refuse_or_take_back(bucket, source)
            SetAside(self._server(source), bucket, source).take()
            self._copy(bucket, source, target)
            self._write(bucket, BucketLocation(target, MoveStep.SETTLING, source))
        SetAside(self._server(target), bucket, target).put_back()
        plugins = self._plugins(bucket, source)
        SetAside(self._server(target), bucket, target).add_plugins(plugins)
        self._confirm(target)
        self._write(bucket, BucketLocation(target), left=source)
        return Move(plugins, source, target, self._clear_what_is_left(bucket))

    def _refuse_or_take_back(self, bucket: int, source: int) -> None:
        """Undo the move and raise `Conflict` if calls were let go between the first check and the mark."""
        try:
            self._refuse_unless_quiet(bucket, source)
        except Conflict:
            SetAside(self._server(source), bucket, source).put_back()
            self._write(bucket, BucketLocation(source))
            raise

    def _refuse_unless_quiet(self, bucket: int, number: int) -> None:
        """Raise `Conflict` unless every webhook of the bucket is paused and no call is being sent."""
        server = self._server(number)

        def key(kind: str, plugin: str, webhook: str = "") -> str:
            return key_in(partition_root(number), kind, plugin=plugin, webhook=webhook)

        unpaused, running = [], 0
        for plugin in self._plugins(bucket, number):
            webhooks = sorted(each.decode() for each in server.hkeys(key("webhooks", plugin)))
            paused = {each for each in webhooks if server.hget(key("policy", plugin, each), "paused") == b"1"}
            unpaused += [f"{plugin}/{each}" for each in webhooks if each not in paused]
            places = server.scan_iter(match=key("running", plugin, "*"), count=1_000)
            running += sum(server.zcard(each) for each in places)
        if unpaused:
            raise Conflict(
                f"Not paused: {', '.join(unpaused[:10])}. Pause every webhook of the plugin (`relay webhooks pause`),"
                " move it, and resume them."
            )
        if running:
            raise Conflict(f"{running} of the plugin's calls are being sent: move it when they have ended.")

    def _plugins(self, bucket: int, number: int) -> tuple[str, ...]:
        """Return the plugins of a bucket that a partition lists."""
        return SetAside(self._server(number), bucket, number).plugins()

    def _copy(self, bucket: int, source: int, target: int) -> None:
        old, new = partition_root(source), partition_root(target)
        server, other = self._server(source), self._server(target)
        for some in self._keys_of(bucket, source):
            self._extend_lock(bucket)
            copy_keys(server, other, {key: new + key[len(old) :] for key in some})
        self._confirm(target)

    def _clear_what_is_left(self, bucket: int) -> int:
        """Delete the keys that a finished move left in its source; return how many they were."""
        home, field = bucket % self._partitions, f"{LEFT}{bucket}"
        left = self._server(home).hget(table_key(home), field)
        if left is None:
            return 0
        source, target, cleared = int(left), self._location(bucket).number, 0
        if target != source:
            for some in self._keys_of(bucket, source):
                cleared += self._server(source).unlink(*some)
            SetAside(self._server(source), bucket, source).remove_plugins()
        self._server(home).hdel(table_key(home), field)
        return cleared

    def _keys_of(self, bucket: int, number: int) -> Iterator[list[str]]:
        """Yield the keys of a bucket in a partition, a piece at a time."""
        root, some = partition_root(number), []
        for key in self._server(number).scan_iter(match=f"{root}*", count=1_000):
            if bucket_of_key(key.decode()[len(root) :]) == bucket:
                some.append(key.decode())
            if len(some) == KEYS:
                yield some
                some = []
        if some:
            yield some

    def _location(self, bucket: int) -> BucketLocation:
        table = read_table(self._client, bucket % self._partitions)
        return location_in(table, bucket, self._partitions)

    def _write(self, bucket: int, location: BucketLocation, left: int | None = None) -> None:
        self._extend_lock(bucket)
        home = bucket % self._partitions
        fields: dict[str, Any] = {str(bucket): location.to_text()}
        if left is not None:
            fields[f"{LEFT}{bucket}"] = left
        on_primary(self._client, partition_root(home), lambda server: self._write_in(server, table_key(home), fields))
        self._confirm(home)

    def _write_in(self, server: Any, table: str, fields: dict[str, Any]) -> None:
        pipeline = server.pipeline(transaction=True)
        pipeline.hset(table, mapping=fields)
        pipeline.hincrby(table, WRITTEN, 1)
        pipeline.execute()

    def _confirm(self, number: int) -> None:
        """Wait until the replicas have what was written, if any are required."""
        if self._replicas.count:
            self._replicas.confirm(partition_root(number))

    def _server(self, number: int) -> Any:
        return primary_of(self._client, partition_root(number))
