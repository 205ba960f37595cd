"""What a caller may give to each of a plugin's webhooks, as kinds. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from relay.declarations.kinds import (
    ANY,
    NULL,
    Alternatives,
    ArrayOf,
    Member,
    Members,
    Named,
    Plain,
    ValueKind,
    both,
    parts,
    union,
)
from relay.declarations.schema_kinds import SchemaKinds
from relay.registration.methods import BODILESS_METHODS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from relay.registration import Shape

_TEXT: Final = Plain("string")
_SCALAR: Final = Alternatives((_TEXT, Plain("number"), Plain("boolean")))
_LISTED: Final = ArrayOf(ANY)
_FILE: Final = Plain("file")
_OBJECT: Final = Members(listed=False)
#: The data that each encoding can send: what a trigger takes where no schema says more.
_ENCODED: Final[Mapping[str, ValueKind]] = {
    "json": Alternatives((_TEXT, _OBJECT, _LISTED, NULL)),
    "form": Alternatives((_TEXT, Members(rest=_SCALAR), NULL)),
    "base64": Alternatives((Plain("binary"), NULL)),
    "multipart": Alternatives((Members(rest=Alternatives((_TEXT, Plain("number"), _FILE))), NULL)),
}


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """A webhook's id, what it is for, and the members of a trigger; optional ones may be null."""

    webhook_id: str
    about: str | None
    members: Mapping[str, Member]
    named: Mapping[str, ValueKind] = field(default_factory=dict)  # what references within ``data`` name


def calls_of(shapes: Iterable[Shape]) -> Iterator[WebhookCall]:
    """Yield the call of each webhook that a plugin may trigger: the hidden ones are left out."""
    for shape in shapes:
        if not shape.hidden:
            yield _call(shape)


def _call(shape: Shape) -> WebhookCall:
    schema: Any = True if shape.data_schema is None else shape.data_schema
    kinds = SchemaKinds(schema)
    data = _data(shape, kinds.whole)
    members = {
        "data": Member(data, required=NULL not in parts(data) and data not in (ANY, Plain("data"))),
        "headers": _filled(shape.fillable_headers, _TEXT),
        "queryParams": _filled(shape.query_params, _SCALAR),
        "pathParams": _path(shape.path_params),
    }
    return WebhookCall(shape.webhook_id, shape.description, members, kinds.named)


def _data(shape: Shape, kind: ValueKind) -> ValueKind:
    if shape.method in BODILESS_METHODS:
        return NULL
    if shape.encoding == "base64":
        return Plain("binary") if shape.data_schema is not None and both(NULL, kind) != NULL else _ENCODED["base64"]
    if shape.encoding == "json" and kind == ANY:
        return Plain("data")
    sent = union(each if _is_closed(each) else both(each, _ENCODED[shape.encoding]) for each in parts(kind))
    return _with_files(sent) if shape.encoding == "multipart" else sent


def _is_closed(kind: ValueKind) -> bool:
    """Return whether an object has only the members that its schema lists: no encoding adds others."""
    return isinstance(kind, Members) and kind.listed and kind.rest is None


def _with_files(sent: ValueKind) -> ValueKind:
    """Add what callers give for a file: a schema describes only the object that JSON carries."""
    kinds = [_with_file_members(each) if isinstance(each, Members) else each for each in parts(sent)]
    return union([*kinds, Plain("formData")] if kinds != [NULL] else kinds)


def _with_file_members(kind: Members) -> Members:
    members = {
        name: replace(each, kind=union((each.kind, _FILE))) if _takes_object(each.kind) else each
        for name, each in kind.members.items()
    }
    return replace(kind, members=members)


def _takes_object(kind: ValueKind) -> bool:
    return any(isinstance(each, Members | Named) for each in parts(kind))


def _filled(names: Iterable[str], kind: ValueKind) -> Member:
    members = {name: Member(kind) for name in names}
    return Member(union((Members(members) if members else Plain("nothing"), NULL)))


def _path(names: Iterable[str]) -> Member:
    members = {name: Member(_SCALAR, required=True) for name in names}
    return Member(Members(members), required=True) if members else _filled((), _SCALAR)
