"""Asks all partitions, and skips those that cannot be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from relay.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.store.keys.keyspace import Keyspace

T = TypeVar("T")


def in_each(keys: Keyspace, ask: Callable[[int], T]) -> list[T]:
    """Return the answers for the partitions that can be reached, in order; raise `Unavailable` if none can."""
    replies, away = [], None
    for number in range(keys.partitions):
        try:
            replies.append(ask(number))
        except Unavailable as error:
            away = error
    if away is not None and not replies:
        raise away
    return replies
