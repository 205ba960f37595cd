"""What a caller may give to each of a plugin's webhooks, as kinds. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from relay.declarations.kinds import (
    ANY,
    NULL,
    Alternatives,
    ArrayOf,
    Member,
    Members,
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
_OBJECT: Final = Members(listed=False)
#: The data that each encoding can send; and what a trigger takes where nothing says more.
_ENCODED: Final[Mapping[str, ValueKind]] = {
    "json": Alternatives((_TEXT, _OBJECT, _LISTED, NULL)),
    "form": Alternatives((_TEXT, Members(rest=_SCALAR), NULL)),
    "base64": Alternatives((Plain("binary"), NULL)),
}


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """A webhook's id, what it is for, and the members of a trigger: those that a caller need not give may be null."""

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
    }
    return WebhookCall(shape.webhook_id, shape.description, members, kinds.named)


def _data(shape: Shape, kind: ValueKind) -> ValueKind:
    if shape.method in BODILESS_METHODS:
        return NULL
    if shape.encoding == "base64":
        return Plain("binary") if shape.data_schema is not None and not _takes_null(kind) else _ENCODED["base64"]
    if shape.encoding == "json" and kind == ANY:
        return Plain("data")
    return both(kind, _ENCODED[shape.encoding])


def _takes_null(kind: ValueKind) -> bool:
    return both(NULL, kind) == NULL


def _filled(names: Iterable[str], kind: ValueKind) -> Member:
    members = {name: Member(kind) for name in names}
    return Member(union((Members(members) if members else Plain("nothing"), NULL)))
