"""Turns a JSON Schema (2020-12) into kinds: never narrower than the schema, and wider where types cannot say it. Pure.

Two liberties, which editors need: where a schema lists ``properties`` and says nothing about others, there are none;
and where it lists ``properties`` or ``required`` without a ``type``, it means an object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from relay.declarations.kinds import (
    ANY,
    NEVER,
    NULL,
    ArrayOf,
    Constants,
    Member,
    Members,
    Named,
    Plain,
    ValueKind,
    both,
    union,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

#: How many parts of a schema are looked at, and how many references may lead to one another; anything beyond is any.
MAX_PARTS: Final = 20_000
MAX_REFERENCES: Final = 16

_NOTES: Final = frozenset(
    {"title", "description", "$comment", "default", "examples", "deprecated", "readOnly", "writeOnly"}
)
_SCALARS: Final[Mapping[str, ValueKind]] = {
    kind.word: kind for kind in (Plain("boolean"), Plain("integer"), NULL, Plain("number"), Plain("string"))
}
_OF_OBJECTS: Final = ("properties", "required", "additionalProperties")
_OF_ARRAYS: Final = ("items", "prefixItems")


class SchemaKinds:
    """The kind of a schema's values, ``whole``, and of all that its references name, ``named``."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._parts_left = MAX_PARTS
        self._awaited: list[str] = []
        self.named: dict[str, ValueKind] = {}
        self.whole = self._kind(schema, frozenset())
        while self._awaited:
            pointer = self._awaited.pop()
            if pointer not in self.named:
                self.named[pointer] = self._referred(pointer, frozenset())

    def _kind(self, schema: Any, within: frozenset[str]) -> ValueKind:
        """Return a schema's kind; ``within`` are the references that are being followed."""
        self._parts_left -= 1
        if not isinstance(schema, dict):
            return NEVER if schema is False else ANY
        if self._parts_left < 0 or (
            "$id" in schema and schema is not self._schema
        ):  # ids give references another meaning
            return ANY
        kind = self._own(schema)
        if isinstance(reference := schema.get("$ref"), str):
            kind = both(kind, self._referred(reference, within))
        for part in schema.get("allOf", ()):
            kind = both(kind, self._kind(part, within))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                kind = both(kind, union(self._kind(part, within) for part in schema[keyword]))
        return kind

    def _referred(self, reference: str, within: frozenset[str]) -> ValueKind:
        if reference in within or len(within) >= MAX_REFERENCES:
            return ANY
        found = self._find(reference)
        return ANY if found is None else self._kind(found, within | {reference})

    def _find(self, reference: str) -> Any:
        """Return what a reference to a place (RFC 6901, section 6) leads to; None if it names an anchor instead."""
        part = self._schema
        if reference != "#" and not reference.startswith("#/"):
            return None
        for step in unquote(reference).split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(part, list) and name.isdigit() and int(name) < len(part):
                part = part[int(name)]
            elif isinstance(part, dict) and name in part and (part is self._schema or "$id" not in part):
                part = part[name]
            else:
                return None
        return part

    def _own(self, schema: Mapping[str, Any]) -> ValueKind:
        """Return the kind that a schema's own keywords give, without those that refer to other schemas."""
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if values is not None:
            return _constants(values)
        types = schema.get("type")
        if types is None:
            types = ["object"] if any(name in schema for name in _OF_OBJECTS) else []
            types += ["array"] if any(name in schema for name in _OF_ARRAYS) else []
            return union(self._typed(each, schema) for each in types) if types else ANY
        return union(self._typed(each, schema) for each in ([types] if isinstance(types, str) else types))

    def _typed(self, word: str, schema: Mapping[str, Any]) -> ValueKind:
        if word == "object":
            return self._object(schema)
        if word == "array":
            items = [self._inner(each) for each in (*schema.get("prefixItems", ()), schema.get("items", True))]
            return ArrayOf(union(items))
        return _SCALARS[word]

    def _object(self, schema: Mapping[str, Any]) -> ValueKind:
        properties, required = schema.get("properties", {}), schema.get("required", ())
        members = {
            name: Member(
                self._inner(part), name in required, part.get("description") if isinstance(part, dict) else None
            )
            for name, part in properties.items()
        }
        missing = {name: Member(ANY, required=True) for name in required if name not in members}
        rest = self._inner(schema["additionalProperties"]) if "additionalProperties" in schema else None
        if "patternProperties" in schema or schema.get("unevaluatedProperties", False) is not False:
            rest = ANY  # a type cannot say which names such members have
        return Members(members | missing, rest, listed=bool(members))

    def _inner(self, schema: Any) -> ValueKind:
        """Return the kind of a member or an item; a reference stands for itself there."""
        if (
            isinstance(schema, dict)
            and isinstance(reference := schema.get("$ref"), str)
            and schema.keys() - _NOTES == {"$ref"}
        ):
            self._awaited.append(reference)
            return Named(reference)
        return self._kind(schema, frozenset())


def _constants(values: list[Any]) -> ValueKind:
    """Return the kind of some values; numbers with a fraction, objects and lists are declared by their types only."""
    told = tuple(value for value in values if isinstance(value, str | int))
    kinds: list[ValueKind] = [Constants(told)] if told else []
    for kind, types in (
        (NULL, type(None)),
        (Plain("number"), float),
        (ArrayOf(ANY), list),
        (Members(listed=False), dict),
    ):
        if any(isinstance(value, types) for value in values):
            kinds.append(kind)
    return union(kinds)
