"""Reads hashes that somebody may have altered: a field that cannot be read is named, and counts as missing."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson

from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

#: The largest number that the relay writes: as a time, the last millisecond of the year 9999.
MOST: Final = 253_402_300_799_999
#: The name of the damage if a key holds a value of another type, so that none of its fields can be read.
WHOLE: Final = "record"
#: What reading a field may raise; any of these means that the field is damaged.
_UNREADABLE: Final = (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)
#: Stands for a sealed value whose key holds another type; no vault opens it.
DAMAGED: Final = b"\0"
_TOLD: Final = 1_024  # damaged fields that a process remembers having logged


def one_value(key: str, reply: bytes | Exception | None, read: Callable[[str], T]) -> T | None:
    """Return the value of a key that is not a hash, as parsed by ``read``; None if it is missing or damaged."""
    return StoredFields(key, reply if isinstance(reply, Exception) else {b"value": reply or b""}).get("value", read)


def number_of(text: str | int) -> int:
    """Read a whole number from 0 to `MOST`; raises ``ValueError``."""
    number = int(text)
    if not 0 <= number <= MOST:
        raise ValueError("a number out of range")
    return number


@lru_cache(_TOLD)
def tell_damage(key: str, field: str) -> None:
    """Log, once per process, that a field of a key cannot be read."""
    event(Event.VALUE_DAMAGED, level=logging.ERROR, key=key, field=field)


class StoredFields:
    """The fields of a hash. ``damaged`` names those that could not be read so far, in the order of reading.

    ``fields`` is the server's reply; an error in place of a hash means that all of it is damaged.
    """

    def __init__(self, key: str, fields: Mapping[bytes, bytes] | Exception) -> None:
        self._key = key
        self._fields: Mapping[bytes, bytes] = {} if isinstance(fields, Exception) else fields
        self.damaged: list[str] = []
        if isinstance(fields, Exception):
            self._note(WHOLE)

    def get(self, name: str, read: Callable[[str], T]) -> T | None:
        """Return a field as parsed by ``read``; None if it is missing, empty or damaged."""
        value = self._fields.get(name.encode())
        if not value:
            return None
        try:
            return read(value.decode())
        except _UNREADABLE:
            self._note(name)
            return None

    def needed(self, name: str, read: Callable[[str], T]) -> T | None:
        """Return a field that every such hash has, like `get`; a missing or empty one counts as damaged."""
        found = self.get(name, read)
        if found is None and name not in self.damaged:
            self._note(name)
        return found

    def text(self, name: str) -> str | None:
        """Return a text; None if it is missing, empty or damaged."""
        return self.get(name, str)

    def number(self, name: str) -> int | None:
        """Return a whole number; None if it is missing, empty or damaged."""
        return self.get(name, number_of)

    def numbers(self) -> dict[str, int]:
        """Return every field, except the damaged ones, of a hash that has only numbers."""
        found = {}
        for name in self._fields:
            text = name.decode("utf-8", "backslashreplace")
            number = self.get(text, number_of)
            if number is not None:
                found[text] = number
        return found

    def json(self, name: str, read: Callable[[Any], T]) -> T | None:
        """Return a field's JSON as parsed by ``read``; None if it is missing, empty or damaged."""
        return self.get(name, lambda text: read(orjson.loads(text)))

    def _note(self, name: str) -> None:
        if WHOLE not in self.damaged:
            self.damaged.append(name)
            tell_damage(self._key, name)
