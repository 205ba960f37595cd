"""JSON of many values or long numbers, read and written in small steps, so that other threads have turns in between.

The parser and the writer of the standard library that are made in C hold Python's lock until they have come to their
end, which takes them some hundredths of a second for a megabyte. Those made in Python do the same, ten times slower.
"""

from __future__ import annotations

import json
from json import decoder, scanner
from typing import Any, Final

#: So many are read and written in a few milliseconds.
FEW_VALUES: Final = 25_000


def loads(raw: bytes) -> Any:
    """Load as ``json.loads``, and raise RecursionError sooner."""
    return decode(DECODER, raw.decode(json.detect_encoding(raw), "surrogatepass"))


def decode(like: json.JSONDecoder, text: str) -> Any:
    """Decode as ``like.decode``, and raise RecursionError sooner."""
    return (like if len(text) < FEW_VALUES else _gradual(like, text)).decode(text)


def encode(like: json.JSONEncoder, value: Any, written: bytes | None = None) -> str:
    """Encode as ``like.encode``; ``written`` is about what that gives, where it is known."""
    if written is not None and written.count(b",") < FEW_VALUES:
        return like.encode(value)
    return "".join(like.iterencode(value))


def _gradual(like: json.JSONDecoder, text: str) -> json.JSONDecoder:
    made = json.JSONDecoder(
        object_pairs_hook=like.object_pairs_hook,
        parse_float=like.parse_float,
        parse_int=_integer if like.parse_int is int else like.parse_int,
        parse_constant=like.parse_constant,
    )
    if text.count("[") + text.count("{") + text.count(",") >= FEW_VALUES:
        made.parse_object, made.parse_array = decoder.JSONObject, decoder.JSONArray  # type: ignore[attr-defined]
        made.scan_once = scanner.py_make_scanner(made)  # type: ignore[attr-defined]
    return made


def _integer(digits: str) -> int:
    """Read as ``int``, of which thousands of digits take their time: a call of Python code gives others turns."""
    return int(digits)


DECODER: Final = json.JSONDecoder()
