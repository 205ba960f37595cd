"""Path parameters: ``{name}`` segments of a registered URL's path, which callers fill, and what a value may be. Pure.

The pattern of a parameter says what its values look like. That a value stays one segment does not rest on the
pattern (ADR 0054): `segment_fault` refuses whatever any server on the way might read as more than one segment.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from relay.registration.data_schema import compile_schema

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

MAX_PATH_PARAMS: Final = 8
MAX_PATTERN_LENGTH: Final = 256
MAX_PATH_VALUE_LENGTH: Final = 1_024  # characters
#: What values look like unless the registration has a pattern.
DEFAULT_PATTERN: Final = "[A-Za-z0-9._~-]{1,128}"
#: The names of path and query parameters.
PARAMETER_NAME: Final = re.compile(r"[A-Za-z0-9._~-]{1,64}\Z")
PARAMETER_NAME_RULE: Final = "must be 1 to 64 of letters, digits and `._~-`"

#: Some servers take the last three for slashes, and read `%u002f` as one.
_SEPARATORS: Final = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2044\u2215\u2216]|%u[0-9A-Fa-f]{4}")
_DOTS: Final = frozenset({"", ".", ".."})


def compile_pattern(pattern: str) -> Draft202012Validator:
    """Compile a pattern that has to match a whole value, with a linear-time regex engine; raise ``ValueError``."""
    compile_schema({"pattern": pattern})  # by itself first: it must not close the group that is put around it
    return compile_schema({"pattern": f"^(?:{pattern})$"})


def segment_fault(value: str) -> str | None:
    """Return why a value could become other than one segment of a path; None if it cannot, percent-encoded.

    Servers and proxies decode a path once or twice, or fold characters that look alike; some drop what follows a
    semicolon before they resolve dot segments. So the value must be one segment however often it is decoded.
    """
    if len(value) > MAX_PATH_VALUE_LENGTH:
        return f"is longer than {MAX_PATH_VALUE_LENGTH} characters"
    try:
        while True:
            folded = unicodedata.normalize("NFKC", value)
            if _SEPARATORS.search(value) or _SEPARATORS.search(folded):
                return "holds a slash, a backslash, a character that some servers take for one, or a control character"
            if folded.partition(";")[0].strip() in _DOTS:
                return "is empty or a dot segment, perhaps percent-escaped"
            decoded = unquote_to_bytes(value).decode()
            if decoded == value:
                return None
            value = decoded
    except UnicodeError:
        return "is not text in UTF-8, perhaps percent-escaped"
