"""Reads a registration document whole: every fault is named, and nothing is taken of a document with one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from relay.documents import MAX_FAULTS, Document, read_document
from relay.endpoint import Endpoint, EndpointRules, parse_endpoint
from relay.errors import DocumentError, Fault
from relay.registration.fields import ID_PATTERN, ID_RULE, load_fields
from relay.registration.header_rules import MIN_MASKED_LENGTH, NOT_SECRET
from relay.registration.shape import BODILESS_METHODS, Encoding, Shape
from relay.registration.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FORM_TYPE: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Registration:
    """One webhook as registered; ``warnings`` are sentences for the person who registers it."""

    shape: Shape
    target: Target
    warnings: tuple[str, ...] = ()


def read_registrations(text: str, rules: EndpointRules, *, plugin: str | None) -> tuple[str, list[Registration]]:
    """Read a registration document whole: the plugin's name and its registrations.

    ``plugin`` is the name given beside the document; a plugin config's own must equal it, or replaces it.
    ``DocumentError`` names every fault; nothing is returned of a document with one.
    """
    document = read_document(text)
    faults = list(_plugin_faults(document, plugin))
    registrations: list[Registration] = []
    seen: set[str] = set()
    for value, base in zip(document.values, document.pointers, strict=True):
        registration, problems = _registration(value, rules)
        webhook_id = value.get("id") if isinstance(value, dict) else None
        if isinstance(webhook_id, str) and webhook_id in seen:
            problems.append(("/id", "is the id of another webhook in this document"))
        elif isinstance(webhook_id, str):
            seen.add(webhook_id)
        faults += [document.fault(base + pointer, message) for pointer, message in problems]
        if registration:
            registrations.append(registration)
    name = document.plugin if document.plugin is not None else plugin
    if faults or name is None:
        raise DocumentError(faults=tuple(faults[:MAX_FAULTS]))
    return name, registrations


def _plugin_faults(document: Document, plugin: str | None) -> Iterator[Fault]:
    if document.plugin is None and plugin is None:
        yield document.fault("", "names no plugin, and none was given")
    elif document.plugin is not None and plugin not in {None, document.plugin}:
        yield document.fault("/plugin", "is not the plugin that was given")
    elif not ID_PATTERN.match(document.plugin or plugin or ""):
        yield document.fault("/plugin", f"the plugin's name {ID_RULE}")


def _registration(value: Any, rules: EndpointRules) -> tuple[Registration | None, list[tuple[str, str]]]:
    """One webhook, or what is wrong with it, each fault with its pointer inside the webhook."""
    fields, faults = load_fields(value)
    endpoint: Endpoint | None = None
    if isinstance(value, dict) and "method" not in value and "payload_encoding" not in value:
        faults.append(("/method", "is required (only with payload_encoding it defaults to POST)"))
    if "url" in fields:
        try:
            endpoint = parse_endpoint(fields["url"], rules)
        except ValueError as error:
            faults.append(("/url", str(error)))
    if endpoint is not None:
        fixed = {name for name, _ in endpoint.fixed_query}
        faults += [
            (f"/queryParams/{number}", "is fixed in the URL already")
            for number, name in enumerate(fields.get("query_params", ()))
            if name in fixed
        ]
    if faults or endpoint is None:
        return None, faults
    return _built(fields, endpoint), []


def _built(fields: dict[str, Any], endpoint: Endpoint) -> Registration:
    headers: dict[str, str | None] = fields["headers"]
    prefilled = {name: value for name, value in headers.items() if value}
    shape = Shape(
        webhook_id=fields["id"],
        method=fields.get("method", "POST"),
        fillable_headers=tuple(name for name, value in headers.items() if not value),
        query_params=tuple(fields["query_params"]),
        encoding=_encoding(fields, prefilled),
        data_schema=fields.get("data_schema"),
        hidden=fields["hidden"],
        idempotent=fields["idempotent"],
        timeout_ms=math.ceil(fields["timeout"] * 1000),
        reveal_url=fields["reveal_url"],
        description=fields.get("description"),
        retry=fields.get("retry"),
        concurrency=fields.get("concurrency"),
        rate=fields.get("rate"),
    )
    return Registration(shape, Target(endpoint, prefilled), tuple(_warnings(shape, prefilled)))


def _encoding(fields: dict[str, Any], prefilled: Mapping[str, str]) -> Encoding:
    if "payload_encoding" in fields:
        return "base64"
    types = [value for name, value in prefilled.items() if name.lower() == "content-type"]
    is_form = bool(types) and types[0].partition(";")[0].strip().lower() == FORM_TYPE
    return "form" if is_form else "json"


def _warnings(shape: Shape, prefilled: Mapping[str, str]) -> Iterator[str]:
    for name, value in prefilled.items():
        if len(value) < MIN_MASKED_LENGTH and name.lower() not in NOT_SECRET:
            yield f"The value of {name} is shorter than {MIN_MASKED_LENGTH} characters: it cannot be masked in answers."
    if shape.method in BODILESS_METHODS and (shape.data_schema is not None or shape.encoding == "base64"):
        yield f"A {shape.method} request carries no data: dataSchema and payload_encoding have no effect."
