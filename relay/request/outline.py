"""The outline of a trigger: names, types and sizes of what a caller gave, never a value. Pure."""

from __future__ import annotations

from typing import Any, Final

from relay.text.json_pointers import escape_step
from relay.text.strict_json import dump_json

#: How many parts an outline has at most, and how deep it goes into the data.
MAX_PARTS: Final = 200
MAX_OUTLINE_DEPTH: Final = 16
#: Larger triggers are not outlined.
MAX_OUTLINED_BYTES: Final = 256 * 1024
_ITEM: Final = "*"
_TYPES: Final = {bool: "boolean", int: "number", float: "number", str: "string", dict: "object", list: "array"}


def outline_of(trigger: Any) -> tuple[list[dict[str, Any]], bool]:
    """Return the parts of a trigger, given as its JSON value, in order, and whether these are all of its parts.

    A part is a place: a JSON pointer in which ``*`` stands for every item of a list, the types of the values there,
    their number, and their total size in bytes, as JSON.
    """
    found: dict[str, dict[str, Any]] = {}
    is_complete = True
    waiting = [(trigger, "", 0)]
    while waiting:
        value, pointer, depth = waiting.pop()
        part = found.get(pointer)
        if part is None:
            if len(found) > MAX_PARTS:
                is_complete = False
                continue
            part = found[pointer] = {"pointer": pointer, "types": [], "count": 0, "bytes": 0}
        kind = _TYPES.get(type(value), "null")
        if kind not in part["types"]:
            part["types"].append(kind)
        part["count"] += 1
        part["bytes"] += len(dump_json(value))
        inner = _inner(value, pointer)
        if depth < MAX_OUTLINE_DEPTH:
            waiting += [(each, place, depth + 1) for place, each in reversed(inner)]
        elif inner:
            is_complete = False
    found.pop("")
    return list(found.values()), is_complete


def _inner(value: Any, pointer: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"{pointer}/{escape_step(name)}", each) for name, each in value.items()]
    return [(f"{pointer}/{_ITEM}", each) for each in value] if isinstance(value, list) else []
