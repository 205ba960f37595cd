"""Recognises what people paste in place of JSON or JavaScript object text, so that one message names the mistake."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Quotation marks that text editors and chat programs put in place of the plain ones.
SMART_QUOTES: Final = "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a\uff02\uff07"
TEMPLATE: Final = re.compile(r"\{\{[^{}]*\}\}")
TEMPLATE_RULE: Final = (
    "has `{{...}}`, and the relay fills in no templates: callers give data, `headers` (null), `queryParams` and "
    "`pathParams`, and a secret from elsewhere is `${env:NAME}`"
)

_DECLARATION: Final = re.compile(r"(?:const|let|var|export|import|module|return|function|type)\Z|module\.")
_YAML_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_OPENERS: Final = frozenset("{[")
_CLOSERS: Final = frozenset("}]")
_FENCES: Final = ("```", "~~~")
_WORDS: Final = frozenset({"word", "text", "stray"})


def mistake_in(text: str, tokens: Iterable[tuple[str, str, int]]) -> tuple[int, str] | None:
    """Return offset and description of the known mistake that makes a text unreadable; None if it is none of these.

    ``tokens`` are kind, lexeme and offset in order, without space and comments, up to one that cannot be read (stray).
    """
    before, end, depth = "", 0, 0
    for number, (kind, lexeme, offset) in enumerate(tokens):
        found = (
            _of_a_mail(kind, lexeme, text, offset, begins_a_line=end == 0 or "\n" in text[end:offset])
            or (number == 0 and _at_the_beginning(lexeme, text, offset))
            or _anywhere(kind, lexeme, before)
            or (number == 0 and _before_the_beginning(kind, text, offset))
            or (depth == 0 and before in _CLOSERS and _after_the_end(kind, text, offset))
        )
        if found:
            return offset, found
        if lexeme == "{" and before == "{" and text[offset - 1] == "{":
            return offset - 1, TEMPLATE_RULE
        depth += (lexeme in _OPENERS) - (lexeme in _CLOSERS)
        before, end = lexeme, offset + len(lexeme)
    return None


def _of_a_mail(kind: str, lexeme: str, text: str, offset: int, *, begins_a_line: bool) -> str | None:
    """Describe what e-mail and chat programs add to a text: marks of quoted lines, and fences of Markdown."""
    if kind == "word" and lexeme[0] == ">" and begins_a_line:
        return "this line begins with `>`, as mails quote lines: leave out these marks"
    if kind in _WORDS and text.startswith(_FENCES, offset):
        return "a Markdown fence is not expected: leave out its two lines"
    return None


def _after_the_end(kind: str, text: str, offset: int) -> str | None:
    if kind not in _WORDS:
        return None
    where = "between two webhooks" if "{" in text[offset:] else "after the last `}`"
    return f"text {where} is not expected: leave it out, or make it a comment (`//`)"


def _at_the_beginning(lexeme: str, text: str, offset: int) -> str | None:
    if _DECLARATION.match(lexeme):
        return "a declaration is not accepted: leave out `const x =` and the semicolon, and begin with `{` or `[`"
    after = text[offset + len(lexeme) :].lstrip(" \t")
    if lexeme in {"-", "---"} or (after[:1] == ":" and _YAML_KEY.match(lexeme.strip("\"'"))):
        return "this looks like YAML, or its braces are missing: write each webhook as an object in `{` and `}`"
    return None


def _before_the_beginning(kind: str, text: str, offset: int) -> str | None:
    opener = next((char for char in text[offset:] if char in _OPENERS), None)
    if kind not in _WORDS or opener is None:
        return None
    return f"text before the first `{opener}` is not expected: leave it out, or make it a comment (`//`)"


def _anywhere(kind: str, lexeme: str, before: str) -> str | None:
    if kind != "word":
        return None
    if any(char in lexeme for char in SMART_QUOTES):
        return "typographic quotation marks are not accepted: put every string in plain quotes, \" or '"
    if lexeme.startswith("#"):
        return "`#` does not start a comment here: use `//`"
    if lexeme == ";" and before in {"}", "]"}:
        return "a semicolon is not expected: leave it out"
    return None
