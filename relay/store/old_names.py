"""Renames the keys of a server that an earlier version filled, when keys had no roots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.cluster import RedisCluster
from redis.exceptions import NoPermissionError

from relay.errors import Conflict, SettingsError
from relay.store.key_names import PARTITIONED, PREFIX, SHARED, SHARED_ROOT, partition_root

if TYPE_CHECKING:
    from collections.abc import Iterable

_PIECE: Final = 1_000  # how many keys one SCAN examines
_SHARED_HEADS: Final = frozenset(template.split(":", 1)[0] for template in SHARED.values())
#: Old names of which every used server has at least one: it has a plugin, or an API key.
OLD_MARKS: Final = (PREFIX + PARTITIONED["plugins"], PREFIX + SHARED["api_keys"])
_HEARTBEATS: Final = PREFIX + SHARED["workers"]
#: A worker whose last heartbeat is older than this, in milliseconds, has stopped.
_SILENT_MS: Final = 30_000


def has_old_names(client: Any) -> bool:
    """Return whether a server has old names; False for a cluster, which never had any, or if the client may not ask."""
    if isinstance(client, RedisCluster):
        return False
    try:
        return bool(client.exists(*OLD_MARKS))
    except NoPermissionError:
        return False


def adopt_old_keys(client: Any) -> int:
    """Rename as `rename_old_keys` does, unless workers of the earlier version still run.

    Raises:
        Conflict: such workers still run, or other keys already have the new names.
        SettingsError: the client's user has no right to do this.
    """
    if not has_old_names(client):
        return 0
    try:
        seconds, _ = client.time()
        if client.zcount(_HEARTBEATS, seconds * 1000 - _SILENT_MS, "+inf"):
            raise Conflict("Workers of the earlier version run, or ran half a minute ago: stop them first.")
        renamed = rename_old_keys(client)
    except NoPermissionError:
        raise SettingsError(
            "This needs a user with all rights on the server: name it in RELAY_REDIS_URL, for this command."
        ) from None
    if has_old_names(client):
        raise Conflict(
            f"These keys kept their old names, because their new names are taken: {', '.join(OLD_MARKS)}."
            " Two versions have used the store: copy by hand what the old keys hold, and delete them."
        )
    return renamed


def rename_old_keys(client: Any) -> int:
    """Give each key that has no root its root, on a server that is not in use; return how many keys were renamed.

    May be stopped and repeated: renamed keys are left alone, and the keys that mark such a server are renamed last.
    """
    renamed = 0
    cursor: Any = None
    while cursor != 0:
        cursor, keys = client.scan(cursor or 0, match=f"{PREFIX}[^{{]*", count=_PIECE)
        renamed += _rename(client, {key.decode() for key in keys}.difference(OLD_MARKS))
    return renamed + _rename(client, [mark for mark in OLD_MARKS if client.exists(mark)])


def _rename(client: Any, old: Iterable[str]) -> int:
    pipeline = client.pipeline(transaction=False)
    for key in old:
        pipeline.renamenx(key, _new_name(key))
    return sum(map(int, pipeline.execute()))


def _new_name(old: str) -> str:
    name = old.removeprefix(PREFIX)
    root = SHARED_ROOT if name.split(":", 1)[0] in _SHARED_HEADS else partition_root(0)
    return root + name
