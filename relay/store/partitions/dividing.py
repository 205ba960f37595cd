"""Divides a store that has one partition, on its one server, while no process of the relay runs.

RENAMENX gives each key its new name; members of keys that plugins share move to the keys of their partitions in
transactions. So nothing is ever in two places or in none, and wherever a division was stopped, the next one completes
it. From its first write to its last, a mark takes the place of the number of partitions.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from redis.cluster import RedisCluster
from redis.exceptions import NoPermissionError, ResponseError

from relay.errors import BadParameter, Conflict, SettingsError
from relay.store.backups.epoch import FENCE, is_fenced_on
from relay.store.counts.totals import StoreCounts, total_pending
from relay.store.keys import keyspace
from relay.store.keys.buckets import LISTS, SETS, bucket_of_key, bucket_of_member, shared_kind
from relay.store.keys.keyspace import Keyspace
from relay.store.keys.names import ROOT, SHARED_ROOT, key_in, partition_root
from relay.store.partitions.number import DIVIDING
from relay.store.partitions.plugins import plugins_in
from relay.store.partitions.spreading import pieces
from relay.store.server.clock import time_ms_of
from relay.store.server.errors import store_errors
from relay.store.server.replicas import Replicas

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import redis

#: A worker whose last heartbeat is older than this, in milliseconds, has stopped.
SILENT_MS: Final = 15_000
_NAMED: Final = 10  # how many running processes a refusal names
_PIECE: Final = 1_000  # how many keys or members are moved at a time


class Division:
    """Divides a store into this many partitions: `begin`, go through `steps`, then `finish`.

    Methods raise `Unavailable` while the server is away, and `SettingsError` if its user may not do this.
    """

    def __init__(self, client: redis.Redis, partitions: int) -> None:
        self._client: Any = client
        self._keys = Keyspace(partitions)
        self._replicas = Replicas(client)

    def begin(self) -> bool:
        """Set the mark; return False if the store already has this many partitions.

        Raises:
            BadParameter: the store is a cluster.
            Conflict: processes of the relay are running, the store is being restored, or it has another number of
                partitions or is being divided into another number.
        """
        if isinstance(self._client, RedisCluster):
            raise BadParameter("The store is a cluster, whose number of partitions was chosen when it began.")
        with _allowed():
            found = self._client.get(keyspace.shared("partitions"))
            target, is_marked = _read(found)
            if found is not None and target != self._keys.partitions:
                was = "is being divided into" if is_marked else "has"
                raise Conflict(f"The store {was} {target} partitions, and their number is permanent.")
            if found is None or is_marked:
                self._refuse_while_any_runs()
            if found is None:
                self._refuse_while_fenced()
                self._mark()
            self._replicas.confirm(SHARED_ROOT)
        return found is None or is_marked

    def steps(self) -> Iterator[int]:
        """Move everything, a piece at a time; yield how many keys were examined. Ends when nothing is left to move."""
        moved = True
        with _allowed():
            while moved:
                moved = False
                for keys in pieces(self._client.scan_iter(match=f"{ROOT}*", count=_PIECE), _PIECE):
                    tails = [key.decode().removeprefix(ROOT) for key in keys]
                    moved = self._rename(tails) or moved
                    for tail in tails:
                        moved = self._spread(tail) or moved
                    yield len(keys)

    def finish(self) -> None:
        """Write the sums of each partition, and replace the mark by the number of partitions.

        Raises:
            Conflict: the counts are no longer the same; the mark stays.
        """
        with _allowed():
            self._write_sums()
            for number in range(1, self._keys.partitions):
                # All of it, since its entries are bound to each other. Those on other partitions' plugins are not used.
                self._client.copy(keyspace.decisions(), keyspace.decisions(partition_root(number)), replace=True)
            mark, counts = self._client.get(keyspace.shared("partitions")), StoreCounts.read(self._client, self._keys)
            before = StoreCounts.from_text(mark.decode().partition(" ")[2])
            if counts != before:
                raise Conflict(f"Another process has used the store meanwhile: it had {before}, and now {counts}.")
            self._client.set(keyspace.shared("partitions"), self._keys.partitions)
            self._replicas.confirm(SHARED_ROOT)

    def size(self) -> int:
        """Return roughly how many keys `steps` examines."""
        with _allowed():
            return int(self._client.dbsize())

    def counts(self) -> StoreCounts:
        """Return what the store has."""
        with _allowed():
            return StoreCounts.read(self._client, self._keys)

    def _mark(self) -> None:
        counts = StoreCounts.read(self._client, self._keys).to_text()
        self._client.set(keyspace.shared("partitions"), DIVIDING + f"{self._keys.partitions} {counts}".encode())
        try:
            self._refuse_while_any_runs()  # it may have started before the mark was set
            self._refuse_while_fenced()
        except Conflict:
            self._client.delete(keyspace.shared("partitions"))
            raise

    def _refuse_while_any_runs(self) -> None:
        now_ms = time_ms_of(self._client)
        beats = self._client.zrangebyscore(keyspace.shared("workers"), now_ms - SILENT_MS, now_ms + SILENT_MS)
        channels = self._client.pubsub_channels(keyspace.notice("*"))
        running = [f"worker {name.decode()}" for name in beats]
        running += [f"API process {name.decode().removeprefix(keyspace.notice(''))}" for name in channels]
        if running:
            more = f" and {len(running) - _NAMED} more" if len(running) > _NAMED else ""
            raise Conflict(
                f"Still running: {', '.join(sorted(running)[:_NAMED])}{more}. Stop every process of the relay first"
                f" (a worker counts as running for {SILENT_MS // 1000} s after its last heartbeat)."
            )

    def _refuse_while_fenced(self) -> None:
        if is_fenced_on(self._client):
            raise Conflict("The store is being restored: end that first, with `relay restore finish`.")

    def _rename(self, tails: Iterable[str]) -> bool:
        """Give keys of other partitions their new names; return whether there were any.

        Raises `Conflict` if a new name is taken.
        """
        names = ((ROOT + tail, self._new_name(tail)) for tail in tails)
        changed = [(old, new) for old, new in names if old != new]
        pipeline = self._client.pipeline(transaction=False)
        for old, new in changed:
            pipeline.renamenx(old, new)
        for (old, new), reply in zip(changed, pipeline.execute(raise_on_error=False), strict=True):
            if isinstance(reply, ResponseError) and "no such key" in str(reply):
                continue  # it has expired, or the last step of an interrupted command arrived late
            if isinstance(reply, Exception):
                raise reply
            if not reply:
                raise Conflict(f"Both `{old}` and `{new}` exist: delete one of them, and run the command again.")
        return bool(changed)

    def _new_name(self, tail: str) -> str:
        bucket = bucket_of_key(tail)
        return ROOT + tail if bucket is None else partition_root(bucket % self._keys.partitions) + tail

    def _spread(self, tail: str) -> bool:
        """Move members of a shared key to the same key of their partitions; return whether there were any."""
        kind, moved = shared_kind(tail), False
        if kind is None:
            return False
        if kind in LISTS:
            return self._spread_list(kind, tail)
        for members in pieces(self._members(kind, ROOT + tail), _PIECE):
            by_number: dict[int, dict[bytes, float]] = {}
            for member, score in members:
                number = bucket_of_member(kind, member.decode()) % self._keys.partitions
                by_number.setdefault(number, {})[member] = score
            by_number.pop(0, None)
            self._move_members(kind, tail, by_number)
            moved = moved or bool(by_number)
        return moved

    def _spread_list(self, kind: str, tail: str) -> bool:
        """Do the same with a list, all in one transaction, since its order must be kept."""
        by_number: dict[int, list[bytes]] = {}
        for start in range(0, self._client.llen(ROOT + tail), _PIECE):
            for member in self._client.lrange(ROOT + tail, start, start + _PIECE - 1):
                number = bucket_of_member(kind, member.decode()) % self._keys.partitions
                by_number.setdefault(number, []).append(member)
        if not by_number.keys() - {0}:
            return False
        pipeline = self._client.pipeline(transaction=True)
        pipeline.delete(ROOT + tail)
        for number, members in by_number.items():
            for some in pieces(members, _PIECE):
                pipeline.rpush(partition_root(number) + tail, *some)
        pipeline.execute()
        return True

    def _members(self, kind: str, key: str) -> Iterator[tuple[bytes, float]]:
        if kind in SETS:
            return ((member, 0.0) for member in self._client.sscan_iter(key, count=_PIECE))
        return iter(self._client.zscan_iter(key, count=_PIECE))

    def _move_members(self, kind: str, tail: str, by_number: Mapping[int, dict[bytes, float]]) -> None:
        pipeline = self._client.pipeline(transaction=True)
        for number, members in by_number.items():
            if kind in SETS:
                pipeline.sadd(partition_root(number) + tail, *members)
                pipeline.srem(ROOT + tail, *members)
            else:
                pipeline.zadd(partition_root(number) + tail, members)
                pipeline.zrem(ROOT + tail, *members)
        pipeline.execute()

    def _write_sums(self) -> None:
        """Write how much is pending in each partition, all in one transaction; the total stays the same.

        If an older release began to divide the store during a restore, each partition also gets the fence.
        """
        fence = self._client.hget(key_in(partition_root(0), "pending"), FENCE)
        count, size = total_pending(self._client, self._keys)
        sums = [self._pending_of(number) for number in range(1, self._keys.partitions)]
        left = count - sum(each for each, _ in sums), size - sum(each for _, each in sums)
        pipeline = self._client.pipeline(transaction=True)
        for number, (pending, held) in enumerate([left, *sums]):
            fields = {"count": pending, "bytes": held} | ({} if fence is None else {FENCE: fence})
            pipeline.hset(key_in(partition_root(number), "pending"), mapping=fields)
        pipeline.execute()

    def _pending_of(self, number: int) -> tuple[int, int]:
        """Return the number and bytes of calls of a partition's plugins that are not final."""
        pipeline = self._client.pipeline(transaction=False)
        for plugin in plugins_in(self._client, number):
            pipeline.get(key_in(partition_root(number), "plugin_pending", plugin=plugin))
            pipeline.hget(self._keys.of_plugin("plugin_bytes", plugin), "pending")
        replies = [int(reply or 0) for reply in pipeline.execute()]
        return sum(replies[::2]), sum(replies[1::2])


def _read(found: bytes | None) -> tuple[int, bool]:
    """Return the number of partitions that a store has or is to have, and whether it is being divided."""
    text = found or b"1"
    return int(text.removeprefix(DIVIDING).split()[0]), text.startswith(DIVIDING)


@contextmanager
def _allowed() -> Iterator[None]:
    """Turn errors of the server, including missing rights, into those of the relay."""
    with store_errors():
        try:
            yield
        except NoPermissionError:
            raise SettingsError(
                "This needs a user with all rights on the server: name it in RELAY_REDIS_URL, for this command."
            ) from None
