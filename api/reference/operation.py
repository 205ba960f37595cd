"""One operation of the API, as the OpenAPI document describes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from relay import errors
from relay.text.media_types import JSON_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marshmallow import Schema

    from api.reference.samples import Sample
    from relay.errors import RelayError


@dataclass(frozen=True, slots=True)
class DocumentedAnswer:
    """One answer that is not a problem document."""

    about: str
    schema: type[Schema] | None = None  # of a JSON answer
    media_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)  # name -> description


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one route. Problems that every route may answer with are not listed."""

    id: str
    method: str
    path: str
    tag: str
    summary: str
    about: str
    answers: Mapping[int, DocumentedAnswer]
    sample: Sample
    scopes: frozenset[str] = frozenset()  # any one of them is enough; empty: open to all
    parameters: Mapping[str, str] = field(default_factory=dict)  # of the path: name -> description
    headers: Mapping[str, str] = field(default_factory=dict)  # of the request, none required
    query: type[Schema] | None = None
    body: type[Schema] | None = None
    bodies: tuple[str, ...] = (JSON_TYPE,)  # media types of the body
    many: bool = False  # the body is a list of these
    problems: tuple[type[RelayError], ...] = ()


BODY_PROBLEMS: Final = (
    errors.MalformedJson,
    errors.RequestTimeout,
    errors.TooLarge,
    errors.UnsupportedMediaType,
    errors.OverCapacity,
)

PREFER: Final = (
    "`respond-async`, `wait=N` (seconds, at most 60), or both (RFC 7240). A preference never makes a request fail."
)
APPLIED: Final = {"Preference-Applied": "The preferences that were applied."}
