"""Encodes a text in every usual way, independently of the relay's own code."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote

_ENDS = 2  # how many characters at either end of base64 depend on the neighbouring text


def encodings(text: str) -> dict[str, bytes]:
    """Return the encoded text by the encoding's name; for `shows`, which ignores case except in base64."""
    raw = text.encode()
    found = {
        "raw": raw,
        "percent": quote(text, safe="").encode(),
        "percent of all": "".join(f"%{byte:02x}" for byte in raw).encode(),
        "hex": raw.hex().encode(),
        "json": json.dumps(text)[1:-1].encode(),
        "json with slashes escaped": json.dumps(text)[1:-1].replace("/", "\\/").encode(),
        "unicode escapes": "".join(f"\\u{ord(char):04x}" for char in text).encode(),
        "html": html.escape(text).encode(),
        "utf-16": text.encode("utf-16-le"),
    }
    for shift in range(3):
        padded = base64.b64encode(b"\0" * shift + raw + b"\0" * 3).decode()
        start = (shift * 8 + 5) // 6
        inner = padded[start : start + len(raw) * 8 // 6 - _ENDS]
        found[f"base64 at {shift}"] = inner.encode()
        found[f"base64url at {shift}"] = inner.translate(str.maketrans("+/", "-_")).encode()
    return found


def shows(haystack: bytes, texts: dict[str, str]) -> list[str]:
    """Return which texts occur, and in which encoding; the case of letters counts only in base64."""
    lowered = haystack.lower()
    return [
        f"{name} ({way})"
        for name, text in texts.items()
        for way, form in encodings(text).items()
        if (form in haystack if way.startswith("base64") else form.lower() in lowered)
    ]
