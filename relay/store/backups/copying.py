"""Copies what a snapshot holds into an empty store, and counts both.

Keys are copied by type, a piece at a time, so that the servers may be of different versions and none has to take a
large key at once.
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Final

from relay.store.backups.epoch import write_in_epoch
from relay.store.keys import keyspace
from relay.store.keys.names import (
    DECISIONS,
    PARTITIONED,
    PREFIX,
    SHARED,
    SHARED_ROOT,
    TRAIL,
    key_in,
    partition_root,
    root_of_key,
)
from relay.store.partitions.plugins import plugins_in
from relay.store.partitions.spreading import pieces
from relay.store.server.errors import store_errors
from relay.store.server.fields import StoredFields
from relay.store.server.replicas import primaries_of, primary_of
from relay.store.server.replies import replies_to
from relay.store.trail.trail import Trail

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    _Command = tuple[Any, ...]

#: Neither copied nor in the way: what running processes write, and what describes the store, not its contents.
_OWN: Final = frozenset(
    {
        *(PARTITIONED[kind] for kind in ("confirmed", "counting_lock", "partitions_copy")),
        *(SHARED[kind] for kind in ("partitions", "epoch", "workers", "worker_lanes", "clock_jump")),
        TRAIL["audit_lock"],
    }
)
#: Per plugin, and not copied: a pending alert may have been sent since; if it still holds, it is raised again.
_ALERTS: Final = re.compile(
    "|".join(PARTITIONED[kind].format(plugin="[^:]+") for kind in ("alerts", "pending_alerts", "alerts_lock"))
)
_PENDING: Final = PARTITIONED["pending"]  # has the fence
#: What processes write into an empty store, including the decisions that they remember and write back.
_IN_EMPTY: Final = (
    _OWN | {*(PARTITIONED[kind] for kind in ("sweeps", "pending", "format_copy")), DECISIONS} | set(TRAIL.values())
)
#: What is copied as a whole, and replaces what the store has.
_CHAINS: Final = frozenset({DECISIONS, *TRAIL.values()})
#: The lists of calls that no worker has taken: their alarms make them wait again.
_WAITING: Final = PARTITIONED["waiting"].partition("{")[0]
_BACKLOG: Final = PARTITIONED["backlog"].partition("{")[0]
#: How many revision numbers are skipped: those given since the backup, which processes may remember, must not be given
#: again.
REVISIONS_LEFT_OUT: Final = 1_000
_LAST_REVISION: Final = re.compile(rb"\}:p:[^:]+:webhook:[^:]+:last\Z")
_SCANNED: Final = 1_000
_KEYS: Final = 128  # read and written together
_MEMBERS: Final = 1_000  # of one key


@dataclass(frozen=True, slots=True)
class BackupCounts:
    """How many plugins, records, calls that are not final, and API keys there are."""

    plugins: int = 0
    records: int = 0
    pending: int = 0
    keys: int = 0

    def __add__(self, other: BackupCounts) -> BackupCounts:
        return BackupCounts(*(here + there for here, there in zip(astuple(self), astuple(other), strict=True)))


def counts_of(client: Any, partitions: Iterable[int], *, shared: bool) -> BackupCounts:
    """Count what these partitions hold and, with ``shared``, the API keys."""
    found = BackupCounts()
    with store_errors():
        for number in partitions:
            plugins = plugins_in(client, number)
            root = partition_root(number)
            key = key_in(root, "pending")
            counted = [("ZCARD", key_in(root, "plugin_index", plugin=plugin)) for plugin in plugins]
            pending, *records = replies_to(client, [("HGETALL", key), *counted])
            known = [count for count in records if not isinstance(count, Exception)]
            found += BackupCounts(len(plugins), sum(known), StoredFields(key, pending).number("count") or 0)
        return found + BackupCounts(keys=int(client.scard(keyspace.shared("api_keys")))) if shared else found


def first_key(client: Any) -> str | None:
    """Return a key that an empty store would not have; None if there is none."""
    with store_errors():
        for server in primaries_of(client):
            for key in server.scan_iter(match=f"{PREFIX}*", count=_SCANNED):
                name: str = key.decode("latin-1")
                tail = _tail(name)
                if tail not in _IN_EMPTY and not tail.startswith((_BACKLOG, _WAITING)) and not _is_own(tail):
                    return name
    return None


def clear(client: Any, roots: Sequence[str], number: int) -> None:
    """Delete what an interrupted restore has copied, and what running processes have written.

    Raises ``Conflict``: a restore with another number than this one has begun.
    """
    with store_errors():
        for server in primaries_of(client):
            for keys in pieces(server.scan_iter(match=f"{PREFIX}{{*", count=_SCANNED), _KEYS):
                gone = [key for key in keys if not _is_own(tail := _tail(key.decode("latin-1"))) and tail != _PENDING]
                for root, its_keys in _by_root(gone, roots):
                    write_in_epoch(server, root, number, [("UNLINK", *its_keys)])


def copy_roots(source: Any, target: Any, roots: Sequence[str], number: int) -> Iterator[int]:
    """Copy all keys of these roots from a server into a store; yield how many keys each piece had.

    Raises ``Conflict``: a restore with another number than this one has begun.
    """
    with store_errors():
        for keys in pieces(source.scan_iter(match=f"{PREFIX}{{*", count=_SCANNED), _KEYS):
            for root, its_keys in _by_root(filter(_is_copied, keys), roots):
                _write(target, root, number, _copying(source, its_keys))
            yield len(keys)
        for root in roots:
            _copy_trail(source, target, root, number)
            name = keyspace.decisions(root)
            # A chain of decisions replaces the store's own in one step, since processes read it meanwhile.
            copied = [("RPUSH", name, *some) for some in pieces(source.lrange(name, 0, -1), _MEMBERS)]
            write_in_epoch(primary_of(target, root), root, number, [("DEL", name), *copied])


def last_entry(source: Any, root: str) -> int:
    """Return the number of the last entry of a root's audit trail."""
    return Trail(source, root).last_number()


def _is_copied(key: bytes) -> bool:
    tail = _tail(key.decode("latin-1"))
    return not _is_own(tail) and tail not in _CHAINS and not tail.startswith(_WAITING)


def _is_own(tail: str) -> bool:
    return tail in _OWN or _ALERTS.fullmatch(tail) is not None


def _tail(key: str) -> str:
    return key.removeprefix(root_of_key(key)) if "}" in key else key


def _by_root(keys: Iterable[bytes], roots: Sequence[str]) -> list[tuple[str, list[bytes]]]:
    """Return the keys that have one of these roots, by root."""
    found: dict[str, list[bytes]] = {}
    for key in keys:
        found.setdefault(root_of_key(key.decode("latin-1")), []).append(key)
    return [(root, found[root]) for root in found.keys() & set(roots)]


def _write(target: Any, root: str, number: int, commands: Iterable[_Command]) -> None:
    """Write a piece at a time, each in one step."""
    for some in pieces(commands, _KEYS):
        write_in_epoch(primary_of(target, root), root, number, some)


def _copying(source: Any, keys: list[bytes]) -> Iterator[_Command]:
    """Yield the commands that write what these keys hold, and nothing for keys that expire meanwhile."""
    pipeline = source.pipeline(transaction=False)
    for key in keys:
        pipeline.type(key)
        pipeline.execute_command("PEXPIRETIME", key)
    replies = pipeline.execute()
    about = list(zip(keys, replies[::2], replies[1::2], strict=True))
    for key, kind, _ in about:
        _read(pipeline, key, kind, 0)
    for (key, kind, ends_at_ms), piece in zip(about, pipeline.execute(), strict=True):
        if piece is None:  # a string; keys of other types that are gone read as empty
            continue
        if _LAST_REVISION.search(key):
            yield "SET", key, int(piece) + REVISIONS_LEFT_OUT
            continue
        yield from _writing_whole(source, key, kind, piece)
        if ends_at_ms > 0:
            yield "PEXPIREAT", key, ends_at_ms


def _writing_whole(source: Any, key: bytes, kind: bytes, piece: Any) -> Iterator[_Command]:
    """Yield the commands that write a key whose first piece this is."""
    if kind == b"string":
        yield "SET", key, piece
        return
    if kind == b"list":
        at = 0
        while piece:
            yield "RPUSH", key, *piece
            at += len(piece)
            piece = _read(source, key, kind, at) if len(piece) == _MEMBERS else []
        return
    while True:
        cursor, members = piece
        if members:
            yield _adding(key, kind, members)
        if not cursor:
            return
        piece = _read(source, key, kind, cursor)


def _copy_trail(source: Any, target: Any, root: str, number: int) -> None:
    """Copy a trail, and append the entries that were written into the empty store."""
    names = {kind: root + name for kind, name in TRAIL.items()}
    _write(target, root, number, _copying_segments(source, names["audit_segments"]))
    writing: list[_Command] = []
    for kind in ("audit_head", "audit_beginning"):
        value = source.get(names[kind])
        writing.append(("DEL", names[kind]) if value is None else ("SET", names[kind], value))
    entries = source.lrange(names["audit_entries"], 0, -1)[::-1]
    writing += [("LPUSH", names["audit_entries"], *some) for some in pieces(entries, _MEMBERS)]
    write_in_epoch(primary_of(target, root), root, number, writing)


def _copying_segments(source: Any, name: str) -> Iterator[_Command]:
    yield "DEL", name  # the empty store's own, if it had any
    at = 0
    while segments := source.lrange(name, at, at + _KEYS - 1):
        yield "RPUSH", name, *segments
        at += len(segments)


def _read(client: Any, key: bytes, kind: bytes, at: int) -> Any:
    """Read a key's next piece, or let a pipeline read it; ``at`` is a cursor, or, for a list, an index."""
    match kind:
        case b"string":
            return client.get(key)
        case b"list":
            return client.lrange(key, at, at + _MEMBERS - 1)
        case b"hash":
            return client.hscan(key, at, count=_MEMBERS)
        case b"set":
            return client.sscan(key, at, count=_MEMBERS)
    return client.zscan(key, at, count=_MEMBERS)


def _adding(key: bytes, kind: bytes, members: Any) -> _Command:
    """Return the command that adds members to a hash, set or sorted set."""
    match kind:
        case b"hash":
            return ("HSET", key, *(part for pair in members.items() for part in pair))
        case b"set":
            return ("SADD", key, *members)
    return ("ZADD", key, *(part for member, score in members for part in (score, member)))


def roots_of(partitions: Iterable[int], *, shared: bool) -> list[str]:
    """Return the roots of these partitions; with ``shared``, that of the shared keys comes first."""
    return [*([SHARED_ROOT] if shared else ()), *(partition_root(number) for number in partitions)]
