"""Scans JavaScript object text: where its members and elements are, which commas are missing, and what is wrong.

The scan knows only the structure; values are read afterwards, by ``json`` or ``json5``. The text is taken as the
inside of an array, so that one object, several in a row, and a list are handled alike.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import json5

from relay.errors import MAX_FAULTS
from relay.text.json_extent import MAX_DEPTH
from relay.text.json_pointers import escape_step
from relay.text.mistakes import mistake_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_NUMBER_LENGTH: Final = 64
MAX_NAME_LENGTH: Final = 256
#: Positions are kept for pointers up to this length: nested long names would make them far larger than the text.
_MAX_POINTER_LENGTH: Final = 1_024

_TOKEN: Final = re.compile(
    r"""
    (?P<space>[\s\ufeff]++ | //[^\n\r\u2028\u2029]*+ | /\*.*?\*/)
    | (?P<text>"[^"\\\n\r]*+(?:\\(?:\r\n|.)[^"\\\n\r]*+)*+" | '[^'\\\n\r]*+(?:\\(?:\r\n|.)[^'\\\n\r]*+)*+')
    | (?P<mark>[{}\[\]:,])
    | (?P<word>[^\s\ufeff{}\[\]:,"'/`]++)
    | (?P<stray>.)
    """,
    re.DOTALL | re.VERBOSE,
)
_LINE_BREAK: Final = re.compile(r"[\n\r\u2028\u2029]")
_NUMBER: Final = re.compile(
    r"[+-]?(?:0[xX][0-9a-fA-F]+|(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\Z"
)
_PYTHON: Final = {"True": "true", "False": "false", "None": "null"}
_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")
_UNQUOTED: Final = (
    "this name needs quotes: without them it may hold only letters, digits, `_` and `$`, and not begin with a digit"
)
_STRAYS: Final = {
    '"': "a string is not closed on its line",
    "'": "a string is not closed on its line",
    "`": "template strings are not accepted; use plain quotes",
    "/": "a comment is not closed, or a slash stands outside of a string",
}


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something wrong at an offset of the text; ``pointer`` says in which member or element."""

    pointer: str
    offset: int
    message: str


@dataclass(frozen=True, slots=True)
class Scan:
    """The findings of a scan. ``places`` maps a pointer (below the implied array) to the offset of its key or value."""

    places: Mapping[str, int]
    commas: tuple[int, ...]  # offsets at which a comma is missing and implied by a line break
    flaws: tuple[Flaw, ...]


@dataclass(slots=True)
class _Frame:
    """An object or array that is not closed yet. ``state`` is what must come next."""

    closer: str  # "}" or "]", "" for the implied array
    pointer: str
    offset: int
    state: str  # name, colon, value, after
    step: str | None = None  # the last segment of the pointer of the current member or element
    count: int = 0
    names: set[str] = field(default_factory=set)

    @property
    def here(self) -> str:
        return self.pointer if self.step is None else f"{self.pointer}/{self.step}"


class _Unreadable(Exception):
    """The structure is lost: nothing after this point can be judged."""


def scan(text: str) -> Scan:
    """Scan a whole text. It never raises: ``flaws`` say what is wrong.

    If a known mistake is the reason, it is the only flaw, because the others follow from it.
    """
    scanner = _Scanner(text)
    with suppress(_Unreadable):
        scanner.run()
    flaws = tuple(scanner.flaws)
    if flaws and (habit := mistake_in(text, _lexemes(text))):
        flaws = (Flaw("", *habit),)
    return Scan(scanner.places, tuple(scanner.commas), flaws)


def with_commas(text: str, commas: tuple[int, ...]) -> str:
    """Return the text as an array with its implied commas written."""
    pieces, last = ["["], 0
    for offset in commas:
        pieces += (text[last:offset], ",")
        last = offset
    pieces += (text[last:], "\n]")  # the text may end in a line comment
    return "".join(pieces)


def _is_name(word: str) -> bool:
    """Return whether a word without quotes can be a name."""
    if word.isascii():
        return word.replace("$", "_").isidentifier()
    with suppress(ValueError):
        json5.loads(f"{{{word}: 0}}")
        return True
    return False


def _lexemes(text: str) -> Iterator[tuple[str, str, int]]:
    """Yield kind, lexeme and offset of each token that is not space or a comment; the first stray one is the last."""
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "space":
            yield match.lastgroup or "", match.group(), match.start()
        if match.lastgroup == "stray":
            return


class _Scanner:
    """One pass over the tokens, with a stack of the objects and arrays that are open."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.places: dict[str, int] = {}
        self.commas: list[int] = []
        self.flaws: list[Flaw] = []
        self.stack = [_Frame("", "", 0, "value")]
        self.end = 0  # of the last lexeme that was not space
        self.broke = False  # a line break since then

    def run(self) -> None:
        for kind, lexeme, offset in self._tokens():
            frame = self.stack[-1]
            if kind == "mark" and lexeme not in "{[":
                self._mark(frame, lexeme, offset)
            else:
                if frame.state == "after":
                    self._imply_comma(frame, offset)
                self._member(frame, kind, lexeme, offset)
            self.end, self.broke = offset + len(lexeme), False
        if len(self.stack) > 1:
            frame = self.stack[-1]
            self._lost(frame.offset, f"this is not closed: `{frame.closer}` is missing")

    def _tokens(self) -> Iterator[tuple[str, str, int]]:
        for match in _TOKEN.finditer(self.text):
            kind, lexeme = match.lastgroup or "", match.group()
            if kind == "space":
                self.broke = self.broke or _LINE_BREAK.search(lexeme) is not None
            elif kind == "stray":
                self._lost(match.start(), _STRAYS[lexeme])
            else:
                yield kind, lexeme, match.start()

    def _mark(self, frame: _Frame, lexeme: str, offset: int) -> None:
        if lexeme == ":" and frame.state == "colon":
            frame.state = "value"
        elif lexeme == "," and frame.state == "after":
            frame.state = "name" if frame.closer == "}" else "value"
        elif lexeme == frame.closer and frame.state in _CLOSABLE[frame.closer]:
            self.stack.pop()
        else:
            self._lost(offset, f"`{lexeme}` is not expected here: {_EXPECTED[frame.state]}")

    def _imply_comma(self, frame: _Frame, offset: int) -> None:
        if self.broke:
            self.commas.append(self.end)
        else:
            self._flaw(offset, "a comma is missing before this")
        frame.state = "name" if frame.closer == "}" else "value"

    def _member(self, frame: _Frame, kind: str, lexeme: str, offset: int) -> None:
        """Handle a lexeme that is a name or a value, or begins one."""
        if frame.state == "name" and kind != "mark":
            self._name(frame, lexeme, offset)
        elif frame.state == "value":
            self._value(frame, kind, lexeme, offset)
        else:
            self._lost(offset, _EXPECTED[frame.state])

    def _name(self, frame: _Frame, lexeme: str, offset: int) -> None:
        quoted = lexeme[0] in "\"'"
        name = self._read(lexeme, offset) if quoted else lexeme
        if len(name) > MAX_NAME_LENGTH:
            self._lost(offset, f"a name of more than {MAX_NAME_LENGTH} characters")
        frame.step = escape_step(name)
        if not quoted and not _is_name(name):
            self._flaw(offset, _UNQUOTED)
        if name in frame.names:
            self._flaw(offset, "this name is given twice")
        frame.names.add(name)
        self._place(frame.here, offset)
        frame.state = "colon"

    def _value(self, frame: _Frame, kind: str, lexeme: str, offset: int) -> None:
        if frame.closer != "}":
            frame.step = str(frame.count)
            frame.count += 1
            self._place(frame.here, offset)
        frame.state = "after"
        if kind == "mark":
            if len(self.stack) > MAX_DEPTH:
                self._lost(offset, f"nested deeper than {MAX_DEPTH}")
            closer, state = ("}", "name") if lexeme == "{" else ("]", "value")
            self.stack.append(_Frame(closer, frame.here, offset, state))
        elif kind == "text":
            self._read(lexeme, offset)
        else:
            self._word(lexeme, offset)

    def _word(self, lexeme: str, offset: int) -> None:
        if lexeme in {"true", "false", "null"}:
            return
        digits = lexeme.lstrip("+-")
        is_hex = "x" in lexeme.lower()
        if lexeme in _PYTHON:
            self._flaw(offset, f"`{lexeme}` is Python: write `{_PYTHON[lexeme]}`")
        elif not _NUMBER.match(lexeme):
            self._flaw(offset, "a string needs quotes, and this is not a number, true, false or null")
        elif len(digits) > MAX_NUMBER_LENGTH or (is_hex and int(digits, 16) >= 10**MAX_NUMBER_LENGTH):
            self._flaw(offset, f"a number of more than {MAX_NUMBER_LENGTH} digits")
        elif not is_hex and math.isinf(float(lexeme)):
            self._flaw(offset, "a number out of range")

    def _read(self, lexeme: str, offset: int) -> str:
        """Return the text that a quoted lexeme stands for."""
        if "\\" not in lexeme:
            return lexeme[1:-1]
        try:
            text: str = json5.loads(lexeme)
        except ValueError:
            self._lost(offset, "this string has an invalid escape")
        # json5 leaves the halves of an escaped surrogate pair apart
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        if _HALF_PAIR.search(text):
            self._flaw(offset, "this string has half of a surrogate pair")
        return text

    def _place(self, pointer: str, offset: int) -> None:
        """Remember where a member or an element begins; for a name given twice, where the first one does."""
        if len(pointer) <= _MAX_POINTER_LENGTH:
            self.places.setdefault(pointer, offset)

    def _flaw(self, offset: int, message: str) -> None:
        if self.flaws and self.flaws[-1].offset == offset:
            return  # a consequence
        self.flaws.append(Flaw(self.stack[-1].here, offset, message))
        if len(self.flaws) == MAX_FAULTS:
            raise _Unreadable

    def _lost(self, offset: int, message: str) -> None:
        """Stop the scan; report this flaw only if it is the first, since most later ones are consequences."""
        if not self.flaws:
            self._flaw(offset, message)
        raise _Unreadable


_EXPECTED: Final = {
    "name": "a member's name or `}` must come next",
    "colon": "a colon must follow a member's name",
    "value": "a value must come next",
    "after": "a comma or the end must come next",
}
_CLOSABLE: Final = {"}": ("name", "after"), "]": ("value", "after"), "": ()}
