"""What values may be, as both languages can declare it: the form between a JSON Schema and the text of a type. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PlainName: TypeAlias = Literal[
    "any",
    "never",
    "null",
    "boolean",
    "integer",
    "number",
    "string",
    "binary",
    "nothing",
    "data",
    "file",
    "formData",
]
Constant: TypeAlias = str | int | bool

#: More alternatives than an editor would show: such a union is declared as what its parts have in common, or as any.
MAX_ALTERNATIVES: Final = 256


@dataclass(frozen=True, slots=True)
class Plain:
    """A type that has a name in each language.

    ``binary`` is what a client encodes as base64; ``data`` what a webhook without a schema takes; ``nothing`` an object
    without members; ``file`` what a client sends as a part of multipart/form-data; ``formData`` all of its parts, if
    the language has them as one object.
    """

    word: PlainName


@dataclass(frozen=True, slots=True)
class Constants:
    """One of these values."""

    values: tuple[Constant, ...]


@dataclass(frozen=True, slots=True)
class ArrayOf:
    """A list of such items."""

    item: ValueKind


@dataclass(frozen=True, slots=True)
class Named:
    """What a reference of the schema refers to; declared once, under a name, because it may contain itself."""

    pointer: str


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an object."""

    kind: ValueKind
    required: bool = False
    about: str | None = None


@dataclass(frozen=True, slots=True)
class Members:
    """An object with these members; ``rest`` is the kind of all others, None if the schema does not say."""

    members: Mapping[str, Member] = field(default_factory=dict)
    rest: ValueKind | None = None
    listed: bool = True  # the schema lists members

    @property
    def others(self) -> ValueKind:
        """The kind of other members: where the schema lists members and does not say, there are none."""
        if self.rest is None:
            return NEVER if self.listed else ANY
        return self.rest


@dataclass(frozen=True, slots=True)
class Alternatives:
    """One of several kinds."""

    kinds: tuple[ValueKind, ...]


ValueKind: TypeAlias = Plain | Constants | ArrayOf | Named | Members | Alternatives

ANY: Final = Plain("any")
NEVER: Final = Plain("never")
NULL: Final = Plain("null")


def union(kinds: Iterable[ValueKind]) -> ValueKind:
    """Return the kind of what has any of these kinds."""
    flat: list[ValueKind] = []
    for kind in kinds:
        for each in kind.kinds if isinstance(kind, Alternatives) else (kind,):
            if each != NEVER and each not in flat:
                flat.append(each)
            if each == ANY or len(flat) > MAX_ALTERNATIVES:
                return ANY
    return flat[0] if len(flat) == 1 else Alternatives(tuple(flat)) if flat else NEVER


def parts(kind: ValueKind) -> tuple[ValueKind, ...]:
    """Return the alternatives of a kind; itself if it has none."""
    return kind.kinds if isinstance(kind, Alternatives) else (kind,)


def both(one: ValueKind, other: ValueKind) -> ValueKind:
    """Return the kind of what has both kinds, or a wider one where that cannot be expressed."""
    if other == ANY or one == NEVER:
        return one
    if one == ANY or other == NEVER:
        return other
    if isinstance(one, Alternatives) or isinstance(other, Alternatives):
        pairs = [(first, second) for first in parts(one) for second in parts(other)]
        return one if len(pairs) > MAX_ALTERNATIVES else union(both(first, second) for first, second in pairs)
    if isinstance(one, Members) and isinstance(other, Members):
        return _both_members(one, other)
    if isinstance(one, Named) or isinstance(other, Named):
        return one
    return _narrower(one, other)


def _both_members(one: Members, other: Members) -> Members:
    merged: dict[str, Member] = {}
    for name in {**one.members, **other.members}:
        found = [each.members[name] for each in (one, other) if name in each.members]
        kind = found[0].kind if len(found) == 1 else both(found[0].kind, found[1].kind)
        about = next((each.about for each in found if each.about), None)
        merged[name] = Member(kind, any(each.required for each in found), about)
    said = [each.rest for each in (one, other) if each.rest is not None]
    rest = both(said[0], said[1]) if len(said) == 2 else said[0] if said else None
    return Members(merged, rest, one.listed or other.listed)


def _narrower(one: ValueKind, other: ValueKind) -> ValueKind:
    """Return what two kinds that are neither alternatives nor both objects have in common."""
    for first, second in ((one, other), (other, one)):
        if isinstance(first, Constants):
            values = tuple(value for value in first.values if _has(value, second))
            return Constants(values) if values else NEVER
        if (first, second) == (Plain("integer"), Plain("number")):
            return first
    if isinstance(one, ArrayOf) and isinstance(other, ArrayOf):
        return ArrayOf(both(one.item, other.item))
    return one if one == other else NEVER


def _has(value: Constant, kind: ValueKind) -> bool:
    if isinstance(kind, Constants):
        return any(value == each and type(value) is type(each) for each in kind.values)
    words = {bool: ("boolean",), int: ("integer", "number"), str: ("string",)}
    return isinstance(kind, Plain) and kind.word in words[type(value)]
