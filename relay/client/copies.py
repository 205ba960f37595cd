"""Copies of triggers as JSON carries them: what JSON would drop or change is a fault, and nothing is sent.

What arrives equals what was given, except that a tuple arrives as a list, a mapping of another type as a dict, and a
file that is a member of data as its name, type and content.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Awaitable, Collection, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any, Final, Generic, TypeAlias, TypeVar
from uuid import UUID

from relay.client.files import FileCopy, is_file
from relay.client.problem import first_of
from relay.errors import Fault, RequestRejected
from relay.text.json_pointers import escape_step

#: How deep data may be nested; the relay takes less.
MAX_DEPTH: Final = 100
#: How many faults are named, and how long a pointer may be.
MAX_FAULTS: Final = 20
MAX_POINTER_LENGTH: Final = 256

UNWRITABLE: Final = "The trigger holds a value that JSON would drop or change, so nothing was sent."
BINARY: Final = (bytes, bytearray, memoryview)
_MEMBERS: Final = ("data", "headers", "queryParams", "pathParams", "subject", "delay")

Bytes: TypeAlias = bytes | bytearray | memoryview
T = TypeVar("T")

_AS_TEXT: Final = "give `str(value)`"
_AS_BASE64: Final = (
    "give base64 text (`base64.b64encode(value).decode()`), or, as the whole of data, the bytes to a webhook that is "
    'registered with payload_encoding "base64"'
)
#: What to give instead of a value that has a method of this name; then, of a value of these types.
_BY_METHOD: Final = (
    ("_asdict", "give `value._asdict()`"),
    ("isoformat", "give `value.isoformat()`"),
    ("tolist", "give `value.tolist()`"),
    ("model_dump", "give `value.model_dump(mode='json')`"),
    ("json", "give `value.json()`"),
)
_BY_TYPE: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    (dt.timedelta, "give `value.total_seconds()`"),
    ((Decimal, Fraction, UUID, PurePath, BaseException, complex), _AS_TEXT),
    (Enum, "give `value.value`"),
    (Awaitable, "`await` it"),
    ((Collection, Iterator), "give `list(value)`"),
)
_AS_FILE: Final = (
    'give the open file as a member of data itself, to a webhook that is registered with payload "multipart"'
)
_AS_PLAIN: Final = "give a dict, a list, text, a number, a bool or None"


@dataclass(frozen=True, slots=True)
class Copy(Generic[T]):
    """What a caller gave, as it was when the call was made."""

    value: T
    faults: tuple[Fault, ...]
    size_bytes: int  # of its JSON, more or less

    def checked(self) -> T:
        """Return the value; raise ``RequestRejected`` with the faults, if there are any."""
        if self.faults:
            raise RequestRejected(UNWRITABLE + first_of(self.faults), faults=self.faults)
        return self.value


class Copies:
    """Makes copies, and notes the faults of all of them."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._size_bytes = 0
        self._above: set[int] = set()  # the ids of the containers around a value
        self._data_at: str | None = None  # pointer to the data that is copied, whose members may be files

    def done(self, value: T) -> Copy[T]:
        """Return a value that was copied, with the faults of all copies."""
        return Copy(value, tuple(self._faults), self._size_bytes)

    def trigger(self, members: Mapping[Any, Any], at: str = "") -> dict[str, Any]:
        """Copy the members of a trigger; leave out those that are None.

        Data that is bytes stays bytes, and files that are members of data become `FileCopy`.
        """
        copy: dict[str, Any] = {}
        for name, value in members.items():
            place = f"{at}/{escape_step(name)}" if isinstance(name, str) else at
            if name == "data" and isinstance(value, BINARY):
                copy[name] = self._bytes(value, place)
            elif not isinstance(name, str):
                self._fault(at, _misnamed(name))
            elif value is not None:
                self._data_at = place if name == "data" and isinstance(value, Mapping) else None
                copy[name] = self.value(value, place)
        return copy

    def value(self, value: Any, at: str) -> Any:
        """Copy a value."""
        try:
            return self._copy(value, at)
        except Exception as error:  # noqa: BLE001 - whatever a class of the caller's raises
            self._fault(at, f"cannot be read: doing so raises {_kind(error)}")
            return None

    def _bytes(self, value: Bytes, at: str) -> bytes:
        try:
            copy = bytes(value)
        except ValueError:
            self._fault(at, "is a memoryview that was released")
            return b""
        self._size_bytes += len(copy)
        return copy

    def _copy(self, value: Any, at: str) -> Any:  # noqa: PLR0911 - one a kind of value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, at)
        if isinstance(value, int):
            int.__repr__(value)  # raises for more digits than Python writes
            return value
        if isinstance(value, float):
            if not math.isfinite(value):
                self._fault(at, f"is {value}, which JSON cannot hold: give None")
            return value
        if isinstance(value, Mapping) or (isinstance(value, list | tuple) and not hasattr(value, "_fields")):
            return self._inside(value, at)
        if at.rpartition("/")[0] == self._data_at and is_file(value):
            return self._file(value, at)
        self._fault(at, f"is of type {_kind(value)}, which JSON cannot hold: {_remedy(value)}")
        return None

    def _file(self, file: Any, at: str) -> FileCopy | None:
        try:
            copy = FileCopy.of(file, at.rpartition("/")[2].replace("~1", "/").replace("~0", "~"))
        except (OSError, TypeError, ValueError):  # not open for reading, opened as text, closed
            self._fault(at, 'is a file that yields no bytes: open it with mode "rb", and close it after the call')
            return None
        self._size_bytes += len(copy.content)
        return copy

    def _text(self, text: str, at: str) -> str:
        self._size_bytes += len(text)
        try:
            text.encode()
        except UnicodeEncodeError:
            self._fault(at, "is text with half of a surrogate pair, which is no character")
        return text

    def _inside(self, container: Any, at: str) -> Any:
        if id(container) in self._above or len(self._above) >= MAX_DEPTH:
            self._fault(at, "contains itself" if id(container) in self._above else "is nested too deeply")
            return None
        self._above.add(id(container))
        try:
            self._size_bytes += len(container)
            if isinstance(container, Mapping):
                return self._members(container, at)
            return [self.value(item, f"{at}/{index}") for index, item in enumerate(container)]
        finally:
            self._above.discard(id(container))

    def _members(self, mapping: Mapping[Any, Any], at: str) -> dict[str, Any]:
        copy: dict[str, Any] = {}
        for name, value in self._pairs(mapping, at):
            if not isinstance(name, str):
                self._fault(at, _misnamed(name))
                continue
            place = f"{at}/{escape_step(name)}"
            self._text(name, place)
            if name in copy:
                self._fault(place, "is given more than once: a name is sent once")
            copy[name] = self.value(value, place)
        return copy

    def _pairs(self, mapping: Mapping[Any, Any], at: str) -> list[tuple[Any, Any]]:
        """Return all pairs of a mapping: some that keep several values of a name otherwise show only one of them."""
        if hasattr(type(mapping), "multi_items"):  # httpx, Starlette
            return list(mapping.multi_items())  # type: ignore[attr-defined]
        pairs = list(mapping.items())
        if isinstance(mapping, dict) and type(mapping) is not dict:  # Django, Werkzeug
            held = list(dict.items(mapping))
            shown = len(held) == len(pairs) and all(
                mine[1] is theirs[1] for mine, theirs in zip(held, pairs, strict=True)
            )
            if not shown:
                self._fault(at, f"is of type {_kind(mapping)}, which keeps several values of a name: give a dict")
        return pairs

    def _fault(self, pointer: str, message: str) -> None:
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(Fault(pointer[:MAX_POINTER_LENGTH], message))


def copy_trigger(*given: Any) -> Copy[dict[str, Any]]:
    """Copy the members of a trigger: data, headers, query parameters, path parameters, subject, and perhaps delay."""
    copies = Copies()
    return copies.done(copies.trigger(dict(zip(_MEMBERS, given, strict=False))))


def _misnamed(name: object) -> str:
    return f"has a name of type {_kind(name)}: in JSON, names are text, such as `str(name)`"


def _kind(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _remedy(value: object) -> str:
    if isinstance(value, BINARY):
        return _AS_BASE64
    if is_file(value):
        return _AS_FILE
    if callable(value):
        return "call it, or leave it out"
    if is_dataclass(value):
        return "give `dataclasses.asdict(value)`"
    by_method = (said for name, said in _BY_METHOD if hasattr(type(value), name))
    by_type = (said for types, said in _BY_TYPE if isinstance(value, types))
    return next(by_method, None) or next(by_type, _AS_PLAIN)
