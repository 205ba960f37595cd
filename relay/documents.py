"""Reads JSON, strictly, and JavaScript object text into plain values, with positions for messages."""

from __future__ import annotations

import json
from typing import Any

from relay.errors import MalformedJson


def read_json(raw: bytes) -> Any:
    """The value of strict JSON bytes (security.md, "The door"); ``MalformedJson`` otherwise."""
    try:
        return json.loads(raw.decode())
    except ValueError:
        raise MalformedJson from None


def dump_json(value: Any) -> bytes:
    """Compact UTF-8 JSON; integers of any size are written exactly."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
