"""Makes small faults in Lua and JavaScript, line by line: a condition turned, a bound moved, a statement left out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_LUA: Final = {
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
    "true": "false",
    "false": "true",
    "not ": "",
    "math.min": "math.max",
    "math.max": "math.min",
}
_JAVASCRIPT: Final = {
    **{each: _LUA[each] for each in (" >= ", " > ", " <= ", " < ", " + ", " - ", "true", "false")},
    " === ": " !== ",
    " !== ": " === ",
    " && ": " || ",
    " || ": " && ",
    " ?? ": " && ",
    "await ": "",
    "Math.min": "Math.max",
    "Math.max": "Math.min",
}
_NUMBER: Final = r"(?<![\w'\".])[0-9][0-9_]*(?![\w'\".])"
_QUIET: Final = {".lua": r"'[^']*'|\"[^\"]*\"|--.*", ".js": r"'[^']*'|\"[^\"]*\"|`[^`]*`|//.*|^\s*/?\*.*"}
#: A call, or an assignment to a field, that is a whole line.
_STATEMENT: Final = {
    ".lua": re.compile(r"(\s*)((?!local|return|if|for|while|else|function)[\w.:\[\]']+(\(.*\)| = .*[\w')\]}]))"),
    ".js": re.compile(r"(\s*)((?!const|let|return|if|for|export|import)[\w.#\[\]]+(\(.*\)| = .*);)"),
}
_CONDITION: Final = {".lua": re.compile(r"\b(?:else)?if ([\w.:]+) then"), ".js": re.compile(r"\bif \(([\w.#]+)\)")}
_NOT: Final = {".lua": "not ({})", ".js": "!({})"}


def faults(text: str, suffix: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield each fault as ``(line, line before, line after, whole text)``."""
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        for changed in _changed(line, suffix):
            yield number, line.strip(), changed.strip(), "\n".join([*lines[: number - 1], changed, *lines[number:]])


def _changed(line: str, suffix: str) -> Iterator[str]:
    others = _LUA if suffix == ".lua" else _JAVASCRIPT
    places = "|".join([*map(re.escape, sorted(others, key=len, reverse=True)), _NUMBER])
    quiet = [match.span() for match in re.finditer(_QUIET[suffix], line)]
    for match in re.finditer(places, line):
        if not any(start <= match.start() < end for start, end in quiet):
            other = others[match[0]] if match[0] in others else str(int(match[0]) + 1)
            yield line[: match.start()] + other + line[match.end() :]
    if (match := _CONDITION[suffix].search(line)) and not any(start <= match.start() < end for start, end in quiet):
        yield line[: match.start(1)] + _NOT[suffix].format(match[1]) + line[match.end(1) :]
    if (match := _STATEMENT[suffix].fullmatch(line)) and line.count("(") == line.count(")"):
        yield match[1]
