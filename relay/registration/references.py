"""Fills in ``${env:NAME}`` and ``${file:PATH}``, by which a webhook's document refers to secrets kept elsewhere.

They are looked up when the document is applied; a value that was found is sealed like one that was written out. ``$${``
stands for ``${``. Pure: the caller passes a function that looks them up, by kind (``env`` or ``file``) and name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from relay.text.json_pointers import escape_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The members that may contain references, because their values may be secrets.
MEMBERS: Final = ("headers", "auth", "signing", "fixedData")
_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^{}]*)\}?")
_NAMED: Final = re.compile(r"(env|file):(.+)\Z", re.DOTALL)


def resolved(webhook: Any, look_up: Callable[[str, str], str]) -> tuple[Any, list[tuple[str, str]]]:
    """Return a webhook's document with its references filled in, and the faults of these, each with its pointer."""
    if not isinstance(webhook, dict):
        return webhook, []
    faults: list[tuple[str, str]] = []
    filled = dict(webhook)
    for member in MEMBERS:
        if member in webhook:
            filled[member] = _fill(webhook[member], f"/{member}", look_up, faults)
    return filled, faults


def _fill(value: Any, pointer: str, look_up: Callable[[str, str], str], faults: list[tuple[str, str]]) -> Any:
    if isinstance(value, dict):
        return {name: _fill(each, f"{pointer}/{escape_step(name)}", look_up, faults) for name, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, f"{pointer}/{index}", look_up, faults) for index, each in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    return "".join(_pieces(value, pointer, look_up, faults))


def _pieces(
    text: str, pointer: str, look_up: Callable[[str, str], str], faults: list[tuple[str, str]]
) -> Iterator[str]:
    at = 0
    for found in _REFERENCE.finditer(text):
        yield text[at : found.start()]
        at = found.end()
        if found[0] == "$${":
            yield "${"
            continue
        named = _NAMED.match(found[1]) if found[0].endswith("}") else None
        if named is None:
            faults.append((pointer, "has a reference that is not ${env:NAME} or ${file:PATH}; write $${ for ${ itself"))
            continue
        try:
            yield look_up(named[1], named[2])
        except ValueError as error:
            faults.append((pointer, str(error)))
    yield text[at:]
