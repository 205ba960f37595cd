"""The outline of a trigger: names, types and sizes of what a caller gave, never a value. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from relay.text.json_pointers import escape_step
from relay.text.strict_json import dump_json

#: How many parts an outline has at most, and how deep into the data it goes.
MAX_PARTS: Final = 200
MAX_OUTLINE_DEPTH: Final = 16
#: Larger triggers are not outlined.
MAX_OUTLINED_BYTES: Final = 256 * 1024
_ITEM: Final = "*"
_TYPES: Final = {bool: "boolean", int: "number", float: "number", str: "string", dict: "object", list: "array"}


@dataclass(slots=True)
class OutlinePart:
    """A place in a trigger, as the API shows it: a JSON pointer in which ``*`` stands for every item of a list."""

    pointer: str
    types: list[str]
    count: int  # how many values are there
    bytes: int  # of all of them, as JSON


@dataclass(frozen=True, slots=True)
class Outline:
    """The parts of a trigger, in its order; incomplete if there are too many."""

    parts: list[OutlinePart]
    complete: bool


def outline_of(trigger: Any) -> Outline:
    """Return the outline of a trigger, given as its JSON value."""
    found: dict[str, OutlinePart] = {}
    is_complete = True
    waiting = [(trigger, "", 0)]
    while waiting:
        value, pointer, depth = waiting.pop()
        part = found.get(pointer)
        if part is None:
            if len(found) > MAX_PARTS:
                is_complete = False
                continue
            part = found[pointer] = OutlinePart(pointer, [], 0, 0)
        _add(part, value)
        inner = _inner(value, pointer)
        if depth < MAX_OUTLINE_DEPTH:
            waiting += [(each, place, depth + 1) for place, each in reversed(inner)]
        elif inner:
            is_complete = False
    found.pop("")
    return Outline(list(found.values()), is_complete)


def _add(part: OutlinePart, value: Any) -> None:
    kind = _TYPES.get(type(value), "null")
    if kind not in part.types:
        part.types.append(kind)
    part.count += 1
    part.bytes += len(dump_json(value))


def _inner(value: Any, pointer: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"{pointer}/{escape_step(name)}", each) for name, each in value.items()]
    return [(f"{pointer}/{_ITEM}", each) for each in value] if isinstance(value, list) else []
