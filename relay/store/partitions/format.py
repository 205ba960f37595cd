"""Records the format of the store's contents, so that no process starts that could not read them.

It is a number at each root, for processes that start while the server of the shared keys is silent. The first process
of a release that writes a newer format raises it; a damaged number is rewritten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from relay.errors import SettingsError
from relay.store.keys.names import SHARED
from relay.store.partitions.reachable import ask_first, ask_roots
from relay.store.server.connection import client_of
from relay.store.server.errors import is_of_another_type, store_errors
from relay.store.server.fields import number_of, one_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from relay.store.keys.keyspace import Keyspace

#: The format that this release writes, and that the previous one can read. A change that the previous release would
#: take for damage, or wrongly ignore, takes two releases: one learns to read it and raises `NEWEST`, the next writes it
#: and raises `FORMAT` (docs/upgrading.md).
FORMAT: Final = 1
#: The newest format that this release reads: `FORMAT`, or the next one.
NEWEST: Final = FORMAT


def read_format(run: Callable[..., Any], root: str) -> int | None:
    """Read the format at a root; None if it is missing or damaged. ``run`` runs a command of the server."""
    key = root + SHARED["format"]
    try:
        reply = run("GET", key)
    except ResponseError as error:
        if not is_of_another_type(error):
            raise
        reply = error
    return one_value(key, reply, number_of)


def write_format(run: Callable[..., Any], root: str, found: int | None) -> None:
    """Write the format at a root that has an older one or none."""
    if (found or 0) < FORMAT:
        run("SET", root + SHARED["format"], FORMAT)


def format_refusal(found: int | None) -> str:
    """Return why this release may not use a store that has this format; empty if it may."""
    if (found or 0) <= NEWEST:
        return ""
    return (
        f"The store was written by a newer release (format {found}; this release reads {NEWEST}). Start that release,"
        " or the one before it; docs/upgrading.md has the way back."
    )


def format_at(client: Redis, root: str) -> int | None:
    """Read the format at a root, like `read_format`. Raises `Unavailable` while its server is away."""
    with store_errors():
        return read_format(client.execute_command, root)


def agree_on_format(client: Redis, keys: Keyspace) -> None:
    """Compare the store's format with what this release reads, and write it where it is missing or older.

    Raises:
        SettingsError: a newer release wrote the store.
        Unavailable: the store is away.
    """
    found = ask_roots(client, keys, lambda root: format_at(client, root)).found
    if refusal := format_refusal(max(each or 0 for each in found.values())):
        raise SettingsError(refusal)

    def write(root: str) -> None:
        if root in found:
            with store_errors():
                write_format(client.execute_command, root, found[root])

    if any((each or 0) < FORMAT for each in found.values()):
        ask_roots(client, keys, write)


def format_of(url: str, keys: Keyspace) -> int | None:
    """Read the format of the store at an address. Raises `Unavailable` while it is away."""
    with client_of(url) as client:
        return ask_first(client, keys, lambda root: format_at(client, root))
