"""Makes mutants of a Lua script, in each of which one comparison, connective, sign, number or boolean is changed."""

from __future__ import annotations

import re

_OTHERS = {
    " >= ": " > ",
    " > ": " >= ",
    " <= ": " < ",
    " < ": " <= ",
    " == ": " ~= ",
    " ~= ": " == ",
    " and ": " or ",
    " or ": " and ",
    " + ": " - ",
    " - ": " + ",
    "return true": "return false",
    "return false": "return true",
    "not ": "",
}
_PLACE = re.compile(
    "|".join(map(re.escape, sorted(_OTHERS, key=len, reverse=True))) + r"|(?<![\w'\"])[1-9][0-9]*(?![\w'\"])"
)
_TEXT_OR_COMMENT = re.compile(r"'[^']*'|\"[^\"]*\"|--.*")


def mutants(text):
    """Yield each mutant as ``(line before, line after, whole text)``."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        kept = [match.span() for match in _TEXT_OR_COMMENT.finditer(line)]
        for match in _PLACE.finditer(line):
            if any(start <= match.start() < end for start, end in kept):
                continue
            other = _OTHERS.get(match[0], str(int(match[0]) + 1) if match[0].isdigit() else None)
            changed = line[: match.start()] + other + line[match.end() :]
            yield line.strip(), changed.strip(), "\n".join([*lines[:number], changed, *lines[number + 1 :]])
