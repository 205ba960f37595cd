"""Reads and writes JSON, strictly: ``read_json`` is the door's parser (security.md, "The door").

It returns values of dict, list, str, int, float, bool and None only.
"""

from __future__ import annotations

import json
import math
import re
from codecs import BOM_UTF8
from typing import Any, Final, NoReturn

import orjson

from relay.errors import MalformedJson
from relay.text import gradual_json
from relay.text.json_extent import MAX_DEPTH, check_extent

MAX_INTEGER_DIGITS: Final = 64

_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


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
    if b"\\u" in raw and _SURROGATE_ESCAPE.search(raw):
        try:
            dump_json(value)
        except UnicodeEncodeError:
            raise MalformedJson("The body is not valid JSON: a string has half of a surrogate pair.") from None
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
