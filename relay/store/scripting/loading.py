"""Loads the library of functions into the servers of the store, and tells which servers lack it.

Whoever may load functions may also replace those that other processes call. So the users of API, workers and Flower
may not load any; the administrator does it. A process whose user has all rights anyway loads what is missing itself.
"""

from __future__ import annotations

import time
from typing import Any, Final

from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError, ResponseError

from relay.errors import SettingsError, Unavailable
from relay.store.partitions.reachable import ask_servers
from relay.store.scripting.library import PREFIX, library
from relay.store.server.connection import client_of
from relay.store.server.errors import is_answer, store_errors
from relay.store.server.replicas import primaries_of

_UNKNOWN: Final = "Function not found"  # the server's message; it has no error code for this
_KNOWN: Final = "already exists"
#: For how many seconds a process believes that every server has the functions, once it has seen that they do.
_BELIEVED_S: Final = 10.0
#: A function that takes any number of ids, even none, and then uses no keys: any server shows whether it has it.
_PROBE: Final = "read"
_FOR_ADMINISTRATORS: Final = (
    "This needs the server's administrator, or another user who may load functions: name one in RELAY_REDIS_URL (of a"
    " cluster, in RELAY_STORE_URL), for this command."
)


def are_unknown(error: ResponseError) -> bool:
    """Return whether a server refused to call a function because it lacks it."""
    return str(error).rpartition(": ")[2] == _UNKNOWN


def has_functions(server: Any) -> bool:
    """Return whether one server has the functions of this version."""
    try:
        server.fcall(library().functions[_PROBE].name, 0)
    except ReadOnlyError:  # a replica looks for the function before it refuses to run it
        return True
    except ResponseError as error:
        if are_unknown(error):
            return False
        raise
    return True


def load_into(server: Any) -> None:
    """Load the functions into a server, unless it has them; raise `Unavailable` if the client's user may not."""
    try:
        _load(server)
    except NoPermissionError as error:
        raise Unavailable(lacking_text()) from error


def _load_if_lacking(server: Any) -> None:
    with store_errors():
        if not has_functions(server):
            load_into(server)


def _load(server: Any) -> None:
    try:
        server.function_load(library().text)
    except OutOfMemoryError as error:
        raise Unavailable(
            f"{lacking_text()} The server is full, and has no room for them: give it a megabyte more (maxmemory)."
        ) from error
    except ResponseError as error:
        if _KNOWN not in str(error):
            raise


def lacking_text() -> str:
    """Return a sentence that names the missing library and says what to do about it."""
    return f"A server of the store lacks the functions {library().name}: load them with `relay functions load`."


class Functions:
    """The functions on all servers of a client. Safe for threads."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._seen_s = -_BELIEVED_S

    def check(self) -> None:
        """Raise `Unavailable` if a server lacks the functions and the client's user may not load them.

        Servers that do not answer are checked later; raises `Unavailable` if none does.
        """
        if time.monotonic() - self._seen_s < _BELIEVED_S:
            return
        found = ask_servers(self._client, _load_if_lacking)
        for refusal in filter(is_answer, found.silent.values()):
            raise refusal
        if found.complete:
            self._seen_s = time.monotonic()


def load_functions(url: str) -> int:
    """Load the functions into every server that lacks them; return how many lacked them.

    Raises:
        SettingsError: the user in the address may not load functions.
        Unavailable: a server is away, or full.
    """
    with store_errors(), client_of(url) as client:
        try:
            lacking = [server for server in primaries_of(client) if not has_functions(server)]
            for server in lacking:
                _load(server)
        except NoPermissionError:
            raise SettingsError(_FOR_ADMINISTRATORS) from None
    return len(lacking)


def drop_other_functions(client: Any) -> None:
    """Delete the libraries of other versions; a process that still runs such a version is no longer ready."""
    for server in primaries_of(client):
        for listed in server.function_list(library=f"{PREFIX}*"):
            fields = dict(zip(listed[::2], listed[1::2], strict=True)) if isinstance(listed, list) else listed
            name = fields[b"library_name"].decode()
            if name != library().name:
                server.function_delete(name)


def renew(url: str) -> None:
    """Replace the functions of a server that is not in use yet with those of this version."""
    with store_errors(), client_of(url) as client:
        for server in primaries_of(client):
            load_into(server)
        drop_other_functions(client)
