"""Reads a registration document as a whole: a document with any fault is refused, and its faults are named."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from relay.errors import MAX_FAULTS, DocumentError, Fault
from relay.registration.building import Registration, load_registration
from relay.registration.fixed_data import scalars_in
from relay.registration.references import Resolved
from relay.registration.stored_secrets import Place, referred, referring
from relay.registration.target import Target
from relay.text.documents import Document, read_document
from relay.text.ids import ID_PATTERN, ID_RULE
from relay.text.mistakes import TEMPLATE, TEMPLATE_RULE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from relay.registration.endpoint import EndpointRules

#: Members whose texts are sent, or decide what is sent.
_SENT: Final = ("url", "headers", "queryParams", "fixedData", "auth", "signing", "steps", "result")


def read_registrations(
    text: str,
    rules: EndpointRules,
    *,
    plugin: str | None,
    default_plugin: str | None = None,
    look_up: Callable[[str, str, str], str] | None = None,
) -> tuple[str, list[Registration]]:
    """Read a registration document; return the plugin's name and its registrations.

    ``plugin`` is the name given with the document. A document that names its plugin must name the same one; if neither
    is given, ``default_plugin`` applies. ``look_up`` returns the values of ``${env:NAME}``, ``${file:PATH}`` and
    ``${secret:NAME}`` by plugin, kind and name; without it they are plain text. For a document with faults, raises
    ``DocumentError`` with all of them, up to `MAX_FAULTS`. Whether the steps of chains fit the webhooks that they name
    is checked when the document is applied.
    """
    document = read_document(text)
    if document.plugin is None and plugin is None:
        plugin = default_plugin
    faults = list(_plugin_faults(document, plugin))
    name = document.plugin if document.plugin is not None else plugin
    of_plugin = None if look_up is None else partial(look_up, name or "")
    registrations: list[Registration] = []
    seen: set[str] = set()
    for value, base in zip(document.values, document.pointers, strict=True):
        registration, problems = _read_one(value, rules, of_plugin)
        webhook_id = value.get("id") if isinstance(value, dict) else None
        if isinstance(webhook_id, str) and webhook_id in seen:
            problems.append(("/id", "is the id of another webhook in this document"))
        elif isinstance(webhook_id, str):
            seen.add(webhook_id)
        faults += [document.fault(base + pointer, message) for pointer, message in problems]
        if registration and not problems:
            registrations.append(replace(registration, fault=_placer(document, base)))
    if faults or name is None:
        faults.sort(key=lambda fault: (fault.line or 0, fault.column or 0, fault.pointer))
        raise DocumentError(faults=tuple(faults[:MAX_FAULTS]))
    return name, registrations


def _read_one(
    value: Any, rules: EndpointRules, look_up: Callable[[str, str], str] | None
) -> tuple[Registration | None, list[tuple[str, str]]]:
    """Read one webhook; return its registration, or None, and its faults with pointers into its value."""
    found = Resolved(value, look_up)
    registration, problems = load_registration(found.value, rules)
    problems = _without_consequences(found.faults, problems)
    if registration is not None and found.written and not problems:
        registration = _referring(registration, found.written)
    return registration, _without_consequences(list(_template_faults(value)), problems)


def _template_faults(webhook: Any) -> Iterator[tuple[str, str]]:
    """Yield the faults of texts with ``{{...}}``, which other products fill in and the relay would send unchanged."""
    for member in _SENT if isinstance(webhook, dict) else ():
        for pointer, value in scalars_in(webhook.get(member), f"/{member}"):
            if isinstance(value, str) and TEMPLATE.search(value):
                yield pointer, TEMPLATE_RULE


def _referring(registration: Registration, written: Mapping[Place, str]) -> Registration:
    """Return a registration whose target keeps its references to secrets."""
    target = registration.target
    if not isinstance(target, Target):
        return registration
    target = referring(target, written)
    return replace(registration, shape=replace(registration.shape, secrets=referred(target)), target=target)


def _without_consequences(causes: list[tuple[str, str]], problems: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the causes, and problems elsewhere: a template, or a reference to nothing, also breaks other rules."""
    named = {pointer for pointer, _ in causes}
    return causes + [(pointer, message) for pointer, message in problems if pointer not in named]


def _placer(document: Document, base: str) -> Callable[[str, str], Fault]:
    return lambda pointer, message: document.fault(base + pointer, message)


def _plugin_faults(document: Document, plugin: str | None) -> Iterator[Fault]:
    if document.plugin is None and plugin is None:
        yield document.fault("", "names no plugin: give one with `--plugin`, or as `{plugin: ..., webhooks: [...]}`")
    elif document.plugin is not None and plugin not in {None, document.plugin}:
        yield document.fault("/plugin", "is not the plugin that `--plugin` names: leave out one of them")
    elif not ID_PATTERN.match(document.plugin or plugin or ""):
        yield document.fault("/plugin", f"the plugin's name {ID_RULE}")
