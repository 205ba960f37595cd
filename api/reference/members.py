"""Makes the members of answers, each with a description, and schemas of such members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from marshmallow import EXCLUDE, Schema, fields, validate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marshmallow.fields import Field


def text(about: str, *, maybe: bool = False, required: bool = True, **metadata: Any) -> Field[Any]:
    """Describe a text."""
    return fields.String(required=required, allow_none=maybe, metadata={"description": about, **metadata})


def whole(about: str, *, maybe: bool = False) -> Field[Any]:
    """Describe a whole number."""
    return fields.Integer(required=True, allow_none=maybe, metadata={"description": about})


def flag(about: str, *, maybe: bool = False) -> Field[Any]:
    """Describe a boolean."""
    return fields.Boolean(required=True, allow_none=maybe, metadata={"description": about})


def time(about: str, *, maybe: bool = False, required: bool = True) -> Field[Any]:
    """Describe a time: RFC 3339, UTC, milliseconds."""
    return text(about, maybe=maybe, required=required, format="date-time")


def counts_by(about: str) -> Field[Any]:
    """Describe a number for each of some words; a word that does not occur may be missing."""
    metadata = {"description": about}
    return fields.Dict(keys=fields.String(), values=fields.Integer(), required=True, metadata=metadata)


def reference(about: str, *, maybe: bool = False, required: bool = True) -> Field[Any]:
    """Describe a reference id."""
    return text(about, maybe=maybe, required=required, format="uuid")


def word(about: str, words: Iterable[str], *, maybe: bool = False) -> Field[Any]:
    """Describe a text that is one of ``words``."""
    choices = [str(each) for each in words]
    return fields.String(
        required=True,
        allow_none=maybe,
        validate=validate.OneOf(choices),
        metadata={"description": about},
    )


def one(inner: type[Schema], about: str) -> Field[Any]:
    """Describe an object."""
    return fields.Nested(inner, required=True, metadata={"description": about})


def maybe(about: str, kind: type[Field[Any]] = fields.String, **arguments: Any) -> Field[Any]:
    """Describe a member that may be null, and may be missing unless it is ``required``."""
    return kind(**arguments, allow_none=True, metadata={"description": about})


def several(inner: Field[Any] | type[Schema], about: str, *, required: bool = True) -> Field[Any]:
    """Describe a list."""
    kind = fields.Nested(inner) if isinstance(inner, type) else inner
    return fields.List(kind, required=required, metadata={"description": about})


def anything(about: str, *, required: bool = True) -> Field[Any]:
    """Describe any JSON value, including null."""
    return fields.Raw(required=required, allow_none=True, metadata={"description": about})


class _Open(Schema):
    """A schema that allows further members, which answers may get in later versions."""

    class Meta:
        """Marshmallow's options."""

        unknown = EXCLUDE


def schema(name: str, **members: Field[Any]) -> type[Schema]:
    """Make a schema with these members, in this order."""
    return _Open.from_dict(dict(members), name=name)
