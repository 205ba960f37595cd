"""Freezes large plain data when an asyncio call is made, so that a thread can copy and check it."""

from __future__ import annotations

import marshal
from contextlib import suppress
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from relay.client.copies import Copy

#: Longer data is frozen, and written in a thread. Shorter data is copied and written within a few milliseconds.
LARGE_BYTES: Final = 64 * 1024
#: Types of data that come back unchanged; other objects with a buffer, such as arrays, come back as bytes.
_PLAIN: Final = frozenset({dict, list, str, bytes, int, float, bool, NoneType})

T = TypeVar("T")


class Frozen(Generic[T]):
    """What a caller gave, to be copied by ``copy``; ``frozen`` is how it was."""

    def __init__(self, copy: Callable[..., Copy[T]], given: tuple[Any, ...], frozen: bytes) -> None:
        self._copy = copy
        self._given = given
        self._frozen = frozen
        self.size_bytes = len(frozen)

    def checked(self) -> T:
        """Return a copy; raise ``RequestRejected`` if JSON would drop or change something in it."""
        copy = self._copy(*marshal.loads(self._frozen))  # noqa: S302 - bytes of this process
        if copy.faults:
            self._copy(*self._given).checked()  # names the type of what came back as bytes
        return copy.checked()


def freeze(copy: Callable[..., Copy[T]], *given: Any, data: Iterable[Any]) -> Copy[T] | Frozen[T]:
    """Copy what a caller gave, with ``data`` in it; if that is plain and large, only freeze it.

    Copying looks at each value, which takes a second for a million; freezing takes a twentieth of that. One of the two
    has to be done before another task can change the data, so that nothing is sent half changed.
    """
    frozen = b""
    if all(type(each) in _PLAIN for each in data):
        with suppress(ValueError):  # something else in it, such as a file
            frozen = marshal.dumps(given)
    return Frozen(copy, given, frozen) if len(frozen) > LARGE_BYTES else copy(*given)
