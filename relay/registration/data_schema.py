"""Compiles and applies the JSON Schemas of webhooks: it never fetches anything, and never quotes the data."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NoReturn

from jsonschema_rs import Draft202012Validator, ReferencingError, RegexOptions, ValidationError, ValidationErrorKind

from relay.text.json_pointers import escape_step, pointer_of
from relay.text.strict_json import dump_json

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SCHEMA_BYTES: Final = 64 * 1024
MAX_SCHEMA_FAULTS: Final = 20
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
# Keywords whose values are data, in which a member called `$ref` refers to nothing.
_DATA_KEYWORDS: Final = frozenset({"const", "enum", "default", "examples"})
# Keywords whose values map names of any kind to schemas.
_MAP_KEYWORDS: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


def _refuse(_uri: str) -> NoReturn:
    raise ValueError


def compile_schema(schema: Any) -> Draft202012Validator:
    """Compile a validator with a linear-time regex engine; raise ``ValueError`` with a sentence for a bad schema."""
    fault = _fault(schema)
    if fault is not None:
        raise ValueError(fault)
    try:
        return Draft202012Validator(schema, retriever=_refuse, pattern_options=RegexOptions())
    except ValidationError as error:
        place = pointer_of(error.instance_path) or "its root"
        nowhere = isinstance(error.kind, ValidationErrorKind.Referencing)
        fault = f"is not a valid JSON Schema at {place} (patterns: without look-around)"
        raise ValueError("has a reference that leads nowhere" if nowhere else fault) from None
    except (ReferencingError, ValueError):
        raise ValueError("is not a valid JSON Schema") from None


def _fault(schema: Any) -> str | None:
    if not isinstance(schema, dict | bool):
        return "must be a JSON Schema: an object, true or false"
    if len(dump_json(schema)) > MAX_SCHEMA_BYTES:
        return f"is larger than {MAX_SCHEMA_BYTES} bytes"
    if isinstance(schema, dict) and schema.get("$schema", DIALECT) not in (DIALECT, DIALECT + "#"):
        return "must be JSON Schema 2020-12 (`$schema` names another dialect)"
    outward = next(_outward_references(schema, ""), None)
    return None if outward is None else f"has a reference at {outward} that does not begin with `#`"


def schema_faults(validator: Draft202012Validator, data: Any) -> Iterator[tuple[str, str]]:
    """Yield JSON pointers into ``data``, each with the keyword that failed there; no value of the data is quoted."""
    if validator.is_valid(data):
        return
    for error in islice(validator.iter_errors(data), MAX_SCHEMA_FAULTS):
        yield pointer_of(error.instance_path), f"does not fit the registered schema: `{_keyword(error)}`"


def _keyword(error: ValidationError) -> str:
    """Return the keyword that failed; a missing member is named too, as its name is the schema's, not the data's."""
    kind = error.kind
    if isinstance(kind, ValidationErrorKind.Required):
        return f"required` of `{kind.property}"
    return kind.name


def _outward_references(schema: Any, place: str) -> Iterator[str]:
    """Yield the places at which a schema refers to anything outside of itself."""
    if isinstance(schema, list):
        for number, item in enumerate(schema):
            yield from _outward_references(item, f"{place}/{number}")
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        here = f"{place}/{escape_step(keyword)}"
        if keyword in _REFERENCES and isinstance(value, str) and not value.startswith("#"):
            yield here
        elif keyword in _MAP_KEYWORDS and isinstance(value, dict):
            for name, part in value.items():
                yield from _outward_references(part, f"{here}/{escape_step(name)}")
        elif keyword not in _DATA_KEYWORDS:
            yield from _outward_references(value, here)
