"""Reads JSON and JavaScript object text into plain values, with positions for messages: the text of registrations."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import json5

from relay.errors import DocumentError, Fault, MalformedJson
from relay.text.json_extent import MAX_DEPTH
from relay.text.json_pointers import escape_step
from relay.text.object_text import scan, with_commas
from relay.text.similar import hint
from relay.text.strict_json import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_DOCUMENT_BYTES: Final = 1024 * 1024

_CONFIG_FIELDS: Final = frozenset({"plugin", "webhooks"})
_LINE_END: Final = re.compile(r"\r\n|[\n\r]")


@dataclass(frozen=True, slots=True)
class Document:
    """A registration document: its webhooks as plain values, each with its JSON pointer, and the plugin it names."""

    values: tuple[Any, ...]
    pointers: tuple[str, ...]
    plugin: str | None
    places: Mapping[str, tuple[int, int]]  # pointer -> line and column, both from 1

    def fault(self, pointer: str, message: str) -> Fault:
        """Make a fault with the position of the value that ``pointer`` names, or of the nearest one around it."""
        known = pointer
        while known and known not in self.places:
            known = known.rpartition("/")[0]
        line, column = self.places.get(known, (None, None))
        return Fault(pointer, message, line, column)


def read_document(text: str) -> Document:
    """Read JSON or JavaScript object text; raise ``DocumentError`` with faults that name line and column."""
    text = text.removeprefix("\ufeff")
    _check_size(text)
    found = scan(text)
    lines = [0, *(match.end() for match in _LINE_END.finditer(text))]
    single = "/1" not in found.places
    if found.flaws:
        raise DocumentError(
            faults=tuple(
                Fault(_outer(flaw.pointer, single), flaw.message, *_position(flaw.offset, lines))
                for flaw in found.flaws
            )
        )
    values = _values(text, found.commas)
    places = {_outer(pointer, single): _position(offset, lines) for pointer, offset in found.places.items()}
    return _document(values[0] if single and values else values, places)


def _check_size(text: str) -> None:
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        raise DocumentError(faults=(Fault("", "is not valid Unicode text"),)) from None
    if size_bytes > MAX_DOCUMENT_BYTES:
        raise DocumentError(faults=(Fault("", f"is larger than {MAX_DOCUMENT_BYTES} bytes"),))


def _outer(pointer: str, single: bool) -> str:
    """Return a pointer into the document for one into the array that the scan adds around it."""
    return pointer.removeprefix("/0") if single else pointer


def _position(offset: int, lines: list[int]) -> tuple[int, int]:
    line = bisect_right(lines, offset)
    return line, offset - lines[line - 1] + 1


def _values(text: str, commas: tuple[int, ...]) -> list[Any]:
    """Read the values of a text in which the scan found no flaw: as strict JSON if it is, else as JavaScript."""
    with suppress(MalformedJson):
        return [read_json(text.encode())]
    with suppress(ValueError, RecursionError, MalformedJson):
        values = json5.loads(with_commas(text, commas), allow_duplicate_keys=False)
        # the strict reader checks the result, and joins escaped surrogate pairs
        return list(read_json(json.dumps(values).encode(), depth=MAX_DEPTH + 1))
    raise DocumentError(faults=(Fault("", "is not JSON or JavaScript object text"),))


def _document(value: Any, places: dict[str, tuple[int, int]]) -> Document:
    """Read one webhook, a list of them, or ``{plugin, webhooks: [...]}``."""
    whole = Document((), (), None, places)
    plugin, base, faults = None, "", list[Fault]()
    values: Any = [value]
    if isinstance(value, list):
        values = value
    elif isinstance(value, dict) and ("webhooks" in value or "plugin" in value):
        plugin, base, values = value.get("plugin"), "/webhooks", value.get("webhooks")
        faults = list(_config_faults(value, whole))
    if not faults and not values:
        faults = [whole.fault(base, "holds no webhook")]
    if faults:
        raise DocumentError(faults=tuple(faults))
    alone = values[0] is value
    pointers = ("",) if alone else tuple(f"{base}/{number}" for number in range(len(values)))
    return Document(tuple(values), pointers, plugin, places)


def _config_faults(config: dict[str, Any], whole: Document) -> Iterable[Fault]:
    for name in config.keys() - _CONFIG_FIELDS:
        message = f"is not a known field of a plugin config{hint(name, _CONFIG_FIELDS)}"
        yield whole.fault(f"/{escape_step(name)}", message)
    if not isinstance(config.get("plugin", ""), str):
        yield whole.fault("/plugin", "must be a string")
    if not isinstance(config.get("webhooks"), list):
        yield whole.fault("/webhooks", "must be a list of webhooks")
