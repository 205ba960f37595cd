"""Finds ``{{...}}`` in what a webhook would send: other products fill it in, the relay would send it as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from relay.text.json_pointers import escape_step
from relay.text.mistakes import TEMPLATE, TEMPLATE_RULE

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Members whose texts are sent, or decide what is sent.
_MEMBERS: Final = ("url", "headers", "queryParams", "fixedData", "auth", "signing", "steps", "result")


def template_faults(webhook: Any) -> Iterator[tuple[str, str]]:
    """Yield pointer and sentence for each text of a webhook's document that holds a template."""
    if isinstance(webhook, dict):
        for member in _MEMBERS:
            yield from _within(webhook.get(member), f"/{member}")


def _within(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _within(each, f"{pointer}/{escape_step(name)}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _within(each, f"{pointer}/{number}")
    elif isinstance(value, str) and TEMPLATE.search(value):
        yield pointer, TEMPLATE_RULE
