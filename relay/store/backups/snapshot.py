"""Takes a snapshot of one server over the network: the RDB file that the server itself makes for a new replica.

The server forks for it, so that the file shows a single moment, and keeps serving. ``rdb-only`` tells the server that
no replica follows: it neither counts for `WAIT` nor costs buffers (https://valkey.io/topics/replication/).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from relay.errors import SettingsError, Unavailable
from relay.store.server.errors import store_errors
from relay.store.server.replicas import primary_of, refresh_primaries

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

#: While the server forks and writes, it sends a line feed at least every ten seconds.
_SILENCE_S: Final = 120.0
_PIECE_BYTES: Final = 1 << 20
_MARK_BYTES: Final = 40  # at the end of a file whose length was not known at the beginning
_LONGEST_HEAD: Final = 128
_RIGHTS: Final = (
    "This needs a server user with the rights of a replica (psync, sync, replconf): name the administrator in"
    " RELAY_REDIS_URL (of a cluster, in RELAY_STORE_URL), for this command. docs/backup.md has the rights."
)


def snapshot(server: Any) -> Iterator[bytes]:
    """Yield the pieces of the RDB file of a client's only server.

    Raises:
        SettingsError: the client's user may not do this.
        Unavailable: the server is away, or stops partway.
    """
    with store_errors():
        connection = server.connection_pool.get_connection()
    try:
        with store_errors():
            try:
                for option in (("rdb-only", "1"), ("capa", "eof")):
                    connection.send_command("REPLCONF", *option)
                    connection.read_response()
                connection.send_command("SYNC")
                stream = connection._sock  # noqa: SLF001 - redis-py could not read what follows
                stream.settimeout(_SILENCE_S)
                yield from _pieces(stream)
            except NoPermissionError:
                raise SettingsError(_RIGHTS) from None
    finally:
        connection.disconnect()
        server.connection_pool.release(connection)


@dataclass(frozen=True, slots=True)
class SnapshotSource:
    """A server to take a snapshot of: a client of it, what it is, and the roots that are on it."""

    server: Any = field(compare=False)
    run: str  # changes when another server takes over, or this one restarts
    software: str  # name and version
    database: int
    roots: tuple[str, ...]


def sources_of(client: Any, roots: Sequence[str]) -> list[SnapshotSource]:
    """Return the servers that have these roots now, the first root's first."""
    found: dict[int, tuple[Any, list[str]]] = {}
    with store_errors():
        refresh_primaries(client, at_most_once_in_s=0.0)
        for root in roots:
            server = primary_of(client, root)
            found.setdefault(id(server), (server, []))[1].append(root)
        return [_source(server, its_roots) for server, its_roots in found.values()]


def _source(server: Any, roots: Sequence[str]) -> SnapshotSource:
    about = server.info("server")
    name = about.get("server_name", "redis")
    software = f"{name} {about.get(f'{name}_version', about['redis_version'])}"
    database = int(server.connection_pool.connection_kwargs.get("db") or 0)
    return SnapshotSource(server, str(about["run_id"]), software, database, tuple(roots))


def _pieces(stream: socket.socket) -> Iterator[bytes]:
    head, data = _head(stream)
    if head.startswith(b"EOF:"):
        yield from _until(stream, head.removeprefix(b"EOF:"), data)
        return
    left = int(head)
    while left > len(data):
        yield data
        left -= len(data)
        data = _received(stream)
    yield data[:left]


def _head(stream: socket.socket) -> tuple[bytes, bytes]:
    """Return the line that says how the file is sent, and what came after it."""
    data = b""
    while b"\n" not in data.lstrip(b"\n"):
        if len(data.lstrip(b"\n")) > _LONGEST_HEAD:
            raise Unavailable("The server answers SYNC with something else than a snapshot.")
        data = (data + _received(stream)).lstrip(b"\n")
    head, _, rest = data.partition(b"\n")
    if head.startswith(b"-"):
        text = head[1:].decode("latin-1").strip()
        raise NoPermissionError(text) if text.startswith("NOPERM") else ResponseError(text)
    return head.strip().removeprefix(b"$"), rest


def _until(stream: socket.socket, mark: bytes, data: bytes) -> Iterator[bytes]:
    """Yield what comes before the mark that ends the stream."""
    while not data.endswith(mark):
        if len(data) > _MARK_BYTES:
            yield data[:-_MARK_BYTES]
            data = data[-_MARK_BYTES:]
        data += _received(stream)
    yield data[: -len(mark)]


def _received(stream: socket.socket) -> bytes:
    data = stream.recv(_PIECE_BYTES)
    if not data:
        raise RedisError("The server closed the connection.")
    return data
