"""Reads and writes JSON of many values or long numbers in small steps, so that other threads can run in between.

The standard library's parser and writer in C hold Python's lock until they are done, which takes some hundredths of a
second for a megabyte. Those in Python do the same work ten times slower, but let other threads run.
"""

from __future__ import annotations

import json
from json import decoder, scanner
from typing import Any, Final

#: This many values are read or written in a few milliseconds.
FEW_VALUES: Final = 25_000


def loads(raw: bytes) -> Any:
    """Load as ``json.loads`` does, but raise RecursionError sooner."""
    return decode(DECODER, raw.decode(json.detect_encoding(raw), "surrogatepass"))


def decode(like: json.JSONDecoder, text: str) -> Any:
    """Decode as ``like.decode`` does, but raise RecursionError sooner."""
    return (like if len(text) < FEW_VALUES else _gradual(like, text)).decode(text)


def encode(like: json.JSONEncoder, value: Any, written: bytes | None = None) -> str:
    """Encode as ``like.encode`` does; ``written`` is roughly the result, if that is known."""
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
    """Read as ``int`` does: it is slow for thousands of digits, and a call of Python code lets other threads run."""
    return int(digits)


DECODER: Final = json.JSONDecoder()
