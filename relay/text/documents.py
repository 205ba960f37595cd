"""Reads JSON, strictly, and JavaScript object text into plain values, with positions for messages.

``read_json`` is the door's parser (security.md, "The door"), ``read_document`` that of registrations. They return
values of dict, list, str, int, float, bool and None only.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from codecs import BOM_UTF8
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

import json5
import orjson

from relay.errors import DocumentError, Fault, MalformedJson
from relay.text import gradual_json
from relay.text.json_extent import check_extent
from relay.text.object_text import MAX_DEPTH, escape_step, original_offset, scan, with_commas
from relay.text.similar import hint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_INTEGER_DIGITS: Final = 64
MAX_DOCUMENT_BYTES: Final = 1024 * 1024

_CONFIG_FIELDS: Final = frozenset({"plugin", "webhooks"})
_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_LINE_END: Final = re.compile(r"\r\n|[\n\r]")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise MalformedJson("The body is not valid JSON: an object has the same name twice.")
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS and len(digits.lstrip("-")) > MAX_INTEGER_DIGITS:
        raise MalformedJson(f"The body is not valid JSON: an integer has more than {MAX_INTEGER_DIGITS} digits.")
    return int(digits)


def _decimal(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise MalformedJson("The body is not valid JSON: a number is out of range.")
    return value


def _constant(_name: str) -> NoReturn:
    raise MalformedJson("The body is not valid JSON: NaN and Infinity are not JSON.")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_decimal, parse_constant=_constant
)
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def read_json(raw: bytes, *, depth: int = MAX_DEPTH) -> Any:
    """Read strict JSON bytes; raise ``MalformedJson``, with line and column if known, for anything else.

    Refused: other encodings, a byte order mark, duplicate names (also by escape), NaN, Infinity, floats that
    overflow, integers of more than 64 digits, half surrogate pairs, more than ``depth`` nested arrays and objects.
    Depth and number of values are checked before anything is parsed; too many values raise ``TooLarge``. Reading takes
    time linear in the length of ``raw``, whatever it contains.
    """
    check_extent(raw, depth)
    try:
        value = gradual_json.decode(_DECODER, raw.decode())
    except UnicodeDecodeError as error:
        raise MalformedJson(f"The body is not valid UTF-8: byte {error.start + 1}.") from None
    except json.JSONDecodeError as error:
        raise MalformedJson(f"The body is not valid JSON: {_whereabouts(raw, error)}.") from None
    if b"\\u" in raw and _SURROGATE_ESCAPE.search(raw) and not _encodable(value):
        raise MalformedJson("The body is not valid JSON: a text holds half of a surrogate pair.")
    return value


def _whereabouts(raw: bytes, error: json.JSONDecodeError) -> str:
    if not raw.strip():
        return "it is empty"
    if raw.startswith(BOM_UTF8):
        return "it begins with a byte order mark"
    return f"line {error.lineno}, column {error.colno}"


def dump_json(value: Any) -> bytes:
    """Return compact UTF-8 JSON, with integers of any size exact. Raises ``ValueError`` for NaN and Infinity."""
    try:
        text = orjson.dumps(value)
    except TypeError:  # an integer beyond 64 bits, half a surrogate pair, or a value that is not JSON
        return gradual_json.encode(_ENCODER, value).encode()
    if b"null" in text:  # orjson also writes NaN as null
        return gradual_json.encode(_ENCODER, value, text).encode()
    return text


def _encodable(value: Any) -> bool:
    try:
        dump_json(value)
    except UnicodeEncodeError:
        return False
    return True


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
    values = _values(text, found.commas, lines)
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


def _values(text: str, commas: tuple[int, ...], lines: list[int]) -> list[Any]:
    """Read the values of a text in which the scan found no flaw: as strict JSON if it is, else as JavaScript."""
    with suppress(MalformedJson):
        return [read_json(text.encode())]
    written, insertions = with_commas(text, commas)
    values: Any = None
    offset = 0
    with suppress(ValueError, RecursionError):
        values, _, offset = json5.parse(written, allow_duplicate_keys=False)
    if isinstance(values, list):
        with suppress(MalformedJson):  # the strict reader checks the result, and joins escaped surrogate pairs
            return list(read_json(json.dumps(values).encode(), depth=MAX_DEPTH + 1))
    position = _position(min(original_offset(offset, insertions), len(text)), lines)
    raise DocumentError(faults=(Fault("", "is not JSON or JavaScript object text", *position),))


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
        yield whole.fault("/plugin", "must be a text")
    if not isinstance(config.get("webhooks"), list):
        yield whole.fault("/webhooks", "must be a list of webhooks")
