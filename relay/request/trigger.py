"""The trigger, and its check against a shape, made when it is accepted and again by the worker. Pure."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from relay.errors import Fault, RequestRejected
from relay.registration.fixed_data import setting_faults
from relay.registration.header_rules import caller_faults
from relay.registration.methods import BODILESS_METHODS
from relay.request.parts import part_faults
from relay.text import gradual_json
from relay.text.json_pointers import escape_step
from relay.text.scalars import is_base64, scalar_text
from relay.text.strict_json import dump_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from relay.registration import Shape

MAX_QUERY_VALUE_LENGTH: Final = 1_024  # characters
MAX_TRIGGER_FAULTS: Final = 20
MAX_POINTER_LENGTH: Final = 256

_Scalar: TypeAlias = str | int | float | bool

#: Members of a trigger that are objects, each with the attribute that holds it.
_OBJECTS: Final = {"headers": "headers", "queryParams": "query_params", "pathParams": "path_params"}
_MEMBERS: Final = ("data", *_OBJECTS, "delay", "subject")  # the last two: relay/request/directions.py


@dataclass(frozen=True, slots=True)
class Trigger:
    """The request of a caller: data, headers, query parameters, path parameters."""

    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query_params: Mapping[str, _Scalar] = field(default_factory=dict)
    path_params: Mapping[str, _Scalar] = field(default_factory=dict)

    @classmethod
    def from_value(cls, value: Any) -> Self:
        """Read a trigger from a JSON value; raise ``RequestRejected`` unless it is an object of a trigger's members."""
        if not isinstance(value, dict):
            raise _rejected([("", "must be an object of a trigger's members, such as data, each of them optional")])
        faults = [(f"/{escape_step(name)}", "is not a member of a trigger") for name in value if name not in _MEMBERS]
        objects = {attribute: value.get(name) or {} for name, attribute in _OBJECTS.items()}
        faults += [
            (f"/{name}", "must be an object or null")
            for name in _OBJECTS
            if value.get(name) is not None and not isinstance(value[name], dict)
        ]
        if faults:
            raise _rejected(faults)
        return cls(value.get("data"), **objects)

    def to_value(self) -> dict[str, Any]:
        """Return the trigger as the JSON value that ``from_value`` reads."""
        value = {"data": self.data, "headers": dict(self.headers), "queryParams": dict(self.query_params)}
        return value | {"pathParams": dict(self.path_params)} if self.path_params else value

    def to_json(self) -> bytes:
        """Return the trigger as compact JSON, which is sealed as the payload."""
        return dump_json(self.to_value())

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read the trigger that ``to_json`` wrote."""
        value = gradual_json.decode(gradual_json.DECODER, raw.decode())
        return cls(value["data"], value["headers"], value["queryParams"], value.get("pathParams") or {})


def check(shape: Shape, trigger: Trigger) -> Trigger:
    """Return the trigger in normal form, or raise ``RequestRejected`` with the faults.

    Normal form: headers under their registered spelling, query and path values as text, data None if none is sent. A
    trigger in normal form stays as it is, so that the worker can repeat the check.
    """
    faults: list[tuple[str, str]] = []
    headers = _headers(shape, trigger.headers, faults) if trigger.headers else {}
    query_params = _query_params(shape, trigger.query_params, faults) if trigger.query_params else {}
    path_params = _path_params(shape, trigger.path_params, faults) if shape.path_params or trigger.path_params else {}
    data = _data(shape, trigger.data, faults)
    if faults:
        raise _rejected(faults)
    is_normal = data is trigger.data and not trigger.headers and not trigger.query_params and not path_params
    return trigger if is_normal else Trigger(data, headers, query_params, path_params)


def _rejected(faults: list[tuple[str, str]]) -> RequestRejected:
    return RequestRejected(
        faults=tuple(Fault(pointer[:MAX_POINTER_LENGTH], said) for pointer, said in faults[:MAX_TRIGGER_FAULTS])
    )


def _headers(shape: Shape, headers: Mapping[str, Any], faults: list[tuple[str, str]]) -> dict[str, str]:
    fillable = {name.lower(): name for name in shape.fillable_headers}
    found = [
        ("/headers" if name is None else f"/headers/{escape_step(name)}", message)
        for name, message in islice(caller_faults(headers, fillable), MAX_TRIGGER_FAULTS)
    ]
    faults += found
    return {} if found else {fillable[name.lower()]: value for name, value in headers.items()}


def _query_params(shape: Shape, params: Mapping[str, Any], faults: list[tuple[str, str]]) -> dict[str, _Scalar]:
    written: dict[str, _Scalar] = {}
    for name, value in params.items():
        text = scalar_text(value)
        if name not in shape.query_params:
            message: str | None = "is not a parameter of this webhook"
        else:
            message = "must be a string, a number, true or false" if text is None else _query_fault(text)
        if message is None and text is not None:
            written[name] = text
        elif len(faults) < MAX_TRIGGER_FAULTS:
            faults.append((f"/queryParams/{escape_step(name)}", message or ""))
    return written


def _path_params(shape: Shape, params: Mapping[str, Any], faults: list[tuple[str, str]]) -> dict[str, _Scalar]:
    written: dict[str, _Scalar] = {}
    for name in shape.path_params:
        text = scalar_text(params.get(name))
        if name not in params:
            message: str | None = "is required: it is a part of the webhook's path"
        else:
            message = "must be a string, a number, true or false" if text is None else shape.path_fault(name, text)
        if message is not None:
            faults.append((f"/pathParams/{escape_step(name)}", message))
        elif text is not None:
            written[name] = text
    unknown = (name for name in params if name not in shape.path_params)
    faults += [
        (f"/pathParams/{escape_step(name)}", "is not a path parameter of this webhook")
        for name in islice(unknown, MAX_TRIGGER_FAULTS)
    ]
    return written


def _query_fault(text: str) -> str | None:
    if len(text) > MAX_QUERY_VALUE_LENGTH:
        return f"is longer than {MAX_QUERY_VALUE_LENGTH} characters"
    if not text.isprintable() and any(unicodedata.category(character) == "Cc" for character in text):
        return "holds a control character"
    return None


def _data(shape: Shape, data: Any, faults: list[tuple[str, str]]) -> Any:
    """Return the data to send; None if the request carries none."""
    if shape.method in BODILESS_METHODS:
        if data is not None and data not in ({}, ""):
            faults.append(("/data", f"a {shape.method} request carries no data"))
        return None
    if data is not None and not isinstance(data, str | dict | list):
        faults.append(("/data", "must be a string, an object, an array or null"))
        return data
    found: list[tuple[str, str]] = []
    if data is not None and shape.encoding != "json":
        found = list(islice(_ENCODING_FAULTS[shape.encoding](data), MAX_TRIGGER_FAULTS))
    if data is not None and shape.fixed_members:
        found += islice(setting_faults(shape.fixed_members, data), MAX_TRIGGER_FAULTS)
    for pointer, message in found or shape.schema_faults(data):
        faults.append((f"/data{pointer}", message))
    return data


def _base64_faults(data: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(data, str):
        yield "", "must be base64 text"
    elif not is_base64(data):
        yield "", "is not valid base64 (RFC 4648, section 4, with padding)"


def _form_faults(data: Any) -> Iterator[tuple[str, str]]:
    if isinstance(data, list):
        yield "", "must be a string or an object, since it is sent as a form"
    if not isinstance(data, dict):
        return
    for name, value in data.items():
        if not isinstance(value, str | int | float):
            yield f"/{escape_step(name)}", "must be a string, a number, true or false, since it is sent as a form"


_ENCODING_FAULTS: Final = {"form": _form_faults, "multipart": part_faults, "base64": _base64_faults}
