"""One operation of the API, as the OpenAPI document describes it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from relay import errors
from relay.text.media_types import JSON_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from marshmallow import Schema

    from relay.errors import RelayError


class PathParameter(NamedTuple):
    """A parameter of paths. In ``sample``, ``{REF}`` stands for the value of the environment variable REF."""

    about: str
    sample: str


#: Every parameter of a path, by its name.
PATH_PARAMETERS: Final = {
    "webhookId": PathParameter("The webhook's id.", "order"),
    "referenceId": PathParameter("The invocation's reference id.", "{REF}"),
    "replayId": PathParameter("The job's id.", "{REPLAY}"),
}
_PARAMETER: Final = re.compile(r"\{(\w+)\}", re.ASCII)

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


@dataclass(frozen=True, slots=True)
class DocumentedAnswer:
    """One answer that is not a problem document."""

    about: str
    schema: type[Schema] | None = None  # of a JSON answer
    media_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)  # name -> description


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sample call gives besides the parameters of its path."""

    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    handwritten: Mapping[str, str] = field(default_factory=dict)  # language -> a program to use instead


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one route. Problems that every route may answer with are not listed."""

    id: str
    method: str = "GET"
    path: str
    summary: str
    about: str
    scopes: frozenset[str] = frozenset()  # any one of them is enough; empty: open to all
    headers: Mapping[str, str] = field(default_factory=dict)  # of the request, none required: name -> description
    query: type[Schema] | None = None
    body: type[Schema] | None = None
    bodies: tuple[str, ...] = (JSON_TYPE,)  # media types of the body
    many: bool = False  # the body is a list of these
    answers: Mapping[int, DocumentedAnswer]  # the usual one first
    problems: tuple[type[RelayError], ...] = ()
    sample: Sample = Sample()

    @property
    def path_parameters(self) -> Iterator[tuple[str, PathParameter]]:
        """The parameters of the path, by name."""
        return ((name, PATH_PARAMETERS[name]) for name in _PARAMETER.findall(self.path))
