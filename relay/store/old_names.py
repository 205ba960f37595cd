"""Renames the keys of a server that an earlier version has filled, when keys had no partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay.store.key_names import PREFIX, SHARED, SHARED_ROOT, partition_root

if TYPE_CHECKING:
    from collections.abc import Iterable

_PIECE: Final = 1_000  # keys that one SCAN looks at
_SHARED_HEADS: Final = frozenset(template.split(":", 1)[0] for template in SHARED.values())


def rename_old_keys(client: Any) -> int:
    """Give each key without a root its root, on a server that nobody uses meanwhile; returns how many there were.

    May be stopped and begun again: what has its name already is left alone.
    """
    renamed = 0
    cursor: Any = None
    while cursor != 0:
        cursor, keys = client.scan(cursor or 0, match=f"{PREFIX}[^{{]*", count=_PIECE)
        renamed += _rename(client, [key.decode() for key in keys])
    return renamed


def _rename(client: Any, old: Iterable[str]) -> int:
    pipeline = client.pipeline(transaction=False)
    for key in old:
        pipeline.renamenx(key, _new_name(key))
    return len(pipeline.execute())


def _new_name(old: str) -> str:
    name = old.removeprefix(PREFIX)
    root = SHARED_ROOT if name.split(":", 1)[0] in _SHARED_HEADS else partition_root(0)
    return root + name
