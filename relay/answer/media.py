"""Reads an answer's Content-Type, and decodes its body if that is text."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

#: How many characters of a Content-Type are read; the rest can only be parameters.
MAX_CONTENT_TYPE_CHARACTERS: Final = 256

_MEDIA_TYPE: Final = re.compile(r"[ \t]*([a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64})[ \t]*(?:;|\Z)")
_CHARSET: Final = re.compile(r";[ \t]*charset[ \t]*=[ \t]*\"?([a-z0-9_.:+-]{1,40})")
_JSON: Final = re.compile(r"(?:application|text)/json\Z|[^/]+/[^/]+\+json\Z")
_TEXT: Final = re.compile(
    r"text/.+\Z|[^/]+/[^/]+\+(?:xml|yaml)\Z|application/(?:xml|xml-dtd|x-www-form-urlencoded|(?:x-)?javascript|"
    r"ecmascript|x-ndjson|ndjson|jsonl|jsonlines|x-jsonlines|json-seq|(?:x-)?yaml|toml|sql|graphql|x-sh)\Z"
)
#: Python's names of the charsets that are honoured; its codecs include others (idna, unicode_escape).
_CHARSETS: Final = frozenset(
    {"utf-8", "utf-8-sig", "ascii", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "big5"}
    | {"shift_jis", "cp932", "euc_jp", "iso2022_jp", "euc_kr", "cp949", "gb2312", "gbk", "gb18030", "koi8-r", "koi8-u"}
    | {"iso8859-1", *(f"iso8859-{part}" for part in range(2, 17)), *(f"cp125{page}" for page in range(9)), "tis-620"}
    | {"cp437", "cp850", "cp866", "cp874", "mac-roman"}
)


@dataclass(frozen=True, slots=True)
class ContentType:
    """The meaning of a Content-Type; ``essence`` is lower-case and without parameters, None without a valid header."""

    kind: Literal["json", "text", "bytes", "unknown"]
    charset: str | None
    essence: str | None


def content_type_of(header: str | None) -> ContentType:
    """Read a Content-Type header (RFC 9110, 8.3) as it came; None if the answer had none."""
    return _read_content_type((header or "")[:MAX_CONTENT_TYPE_CHARACTERS].lower())


@lru_cache(maxsize=512)
def _read_content_type(header: str) -> ContentType:
    found = _MEDIA_TYPE.match(header)
    if not found:  # a malformed one counts as none
        return ContentType("unknown", None, None)
    essence, charset = found[1], _CHARSET.search(header)
    kind: Literal["json", "text", "bytes"] = "bytes"
    if _JSON.match(essence):
        kind = "json"
    elif _TEXT.match(essence):
        kind = "text"
    return ContentType(kind, charset[1] if charset else None, essence)


def text_of(body: bytes, content_type: ContentType) -> str | None:
    """Decode the body; return None if it is bytes, by its type or because it does not decode."""
    if content_type.kind == "bytes" or (content_type.kind == "unknown" and b"\0" in body):
        return None
    charset = _known_charset(content_type.charset)
    # JSON is UTF-8 whatever its charset says (RFC 8259, 8.1); if it does not decode, the charset is tried.
    charsets = ("utf-8", charset) if content_type.kind == "json" else (charset,)
    for name in charsets:
        try:
            return body.decode(name).removeprefix("\ufeff")
        except UnicodeError:
            continue
    return None


@lru_cache(maxsize=128)
def _known_charset(name: str | None) -> str:
    try:
        known = codecs.lookup(name or "utf-8").name
    except (LookupError, ValueError):
        return "utf-8"
    return known if known in _CHARSETS else "utf-8"
