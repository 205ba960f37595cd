"""Makes the OpenAPI document from all operations and their schemas."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter

from api import problems
from api.reference import invocations, overview, process, replays, schemas, triggers, webhooks
from api.reference.samples import LANGUAGES, programs_of
from relay import errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from marshmallow import Schema
    from marshmallow.fields import Field

    from api.reference.operation import DocumentedAnswer, Operation
    from relay.errors import RelayError

VERSION: Final = "3.1.0"
_ABOUT: Final = (
    "Plugins call third-party endpoints through the relay without ever seeing an endpoint's URL or credentials. "
    "Problems are RFC 9457 documents with a stable `code`."
)
_END: Final = r"\Z"
_KEY: Final = "key"
_KEY_ABOUT: Final = (
    "An API key (`relay keys create`): `Authorization: Bearer whk_...`. Scopes: `trigger`, `operate`, `metrics`."
)
#: Problems that any route may answer with; the first three only routes that need a key.
_OF_KEYS: Final = (errors.Unauthenticated, errors.Forbidden, errors.RateLimited)
_OF_ALL: Final = (errors.BadParameter, errors.Internal, errors.Unavailable)

#: Every operation by its tag, in the order of the document.
OPERATIONS: Final[Mapping[str, tuple[Operation, ...]]] = {
    "Triggers": triggers.OPERATIONS,
    "Webhooks": webhooks.OPERATIONS,
    "Invocations": invocations.OPERATIONS,
    "Replays": replays.OPERATIONS,
    "Overview": overview.OPERATIONS,
    "Process": process.OPERATIONS,
}


class _Converter(OpenAPIConverter):
    """Rewrites Python's patterns, which end in a Z anchor, for JSON Schema (ECMA-262), with anchors at both ends."""

    def field2pattern(self, field: Field[Any], **arguments: Any) -> dict[str, Any]:
        """Return the schema members for the pattern of a field, if it has one."""
        found = super().field2pattern(field, **arguments)
        pattern = found.get("pattern", "")
        return {"pattern": f"^(?:{pattern.removesuffix(_END)})$"} if pattern.endswith(_END) else found


class _Plugin(MarshmallowPlugin):
    Converter = _Converter


def make_document() -> dict[str, Any]:
    """Return the document as a JSON value."""
    spec = APISpec(
        title="Webhook relay",
        version=metadata.version("webhook-relay"),
        openapi_version=VERSION,
        info={"description": _ABOUT},
        servers=[{"url": "/"}],
        plugins=[_Plugin(schema_name_resolver=_name)],
    )
    spec.components.security_scheme(_KEY, {"type": "http", "scheme": "bearer", "description": _KEY_ABOUT})
    for tag, operations in OPERATIONS.items():
        for operation in operations:
            spec.path(path=operation.path, operations={operation.method.lower(): _described(tag, operation)})
    document: dict[str, Any] = spec.to_dict()
    return document


def _name(kind: type[Schema] | Schema) -> str:
    return (kind if isinstance(kind, type) else type(kind)).__name__


def _described(tag: str, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [tag],
        "summary": operation.summary,
        "description": operation.about,
        "parameters": list(_parameters(operation)),
        "responses": _responses(operation),
        # One entry for each scope that is enough; an empty list if no key is needed.
        "security": [{_KEY: [scope]} for scope in sorted(operation.scopes)],
        "x-codeSamples": [
            {"lang": LANGUAGES[language], "label": language, "source": program}
            for language, program in programs_of(operation).items()
        ],
    }
    if operation.body is not None:
        body: Any = operation.body
        schema = {"type": "array", "items": body} if operation.many else body
        # For NDJSON, a schema can only describe a single line.
        content = {kind: {"schema": schema if kind == operation.bodies[0] else body} for kind in operation.bodies}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    text = {"type": "string"}
    for name, parameter in operation.path_parameters:
        yield {"in": "path", "name": name, "required": True, "description": parameter.about, "schema": text}
    for name, about in operation.headers.items():
        yield {"in": "header", "name": name, "required": False, "description": about, "schema": text}
    if operation.query is not None:
        yield {"in": "query", "schema": operation.query}


def _responses(operation: Operation) -> dict[str, Any]:
    responses = {str(status): _response(answer) for status, answer in operation.answers.items()}
    kinds = (*operation.problems, *(_OF_KEYS if operation.scopes else ()), *_OF_ALL)
    by_status: dict[int, list[type[RelayError]]] = {}
    for kind in sorted(set(kinds), key=lambda kind: kind.code):
        by_status.setdefault(problems.status_of(kind), []).append(kind)
    for status, found in sorted(by_status.items()):
        about = " ".join(f"`{kind.code}`: {kind.sentence}" for kind in found)
        problem = {"description": about, "content": {problems.MEDIA_TYPE: {"schema": schemas.Problem}}}
        responses.setdefault(str(status), problem)
    return responses


def _response(answer: DocumentedAnswer) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.about}
    if answer.media_type:
        schema: Any = {"type": "string"} if answer.schema is None else answer.schema
        response["content"] = {answer.media_type: {"schema": schema}}
    if answer.headers:
        response["headers"] = {
            name: {"description": about, "schema": {"type": "string"}} for name, about in answer.headers.items()
        }
    return response
