"""Parses the header lines that libcurl delivers, but only those that are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_STATUS_LINE: Final = b"HTTP/"
_ENDS: Final = frozenset({b"\r\n", b"\n"})


class Head:
    """The final answer's header block: interim answers (1xx) before it and trailers after it are left out."""

    __slots__ = ("_lines",)

    def __init__(self, lines: Sequence[bytes] = ()) -> None:
        """``lines`` are all lines received, including status lines and the empty lines between blocks."""
        first = 0
        for index, line in enumerate(lines):
            if line.startswith(_STATUS_LINE) and (index == 0 or lines[index - 1] in _ENDS):
                first = index
        self._lines = lines[first + 1 :]

    @property
    def complete(self) -> bool:
        """Whether the block is complete: libcurl reports success even if the connection ends within it."""
        return not _ENDS.isdisjoint(self._lines)

    def get(self, name: bytes) -> str | None:
        """Return the first value of a field, by its lower-case name; None if it is absent."""
        mark = name + b":"
        for line in self._lines:
            if line[: len(mark)].lower() == mark:
                return line[len(mark) :].strip().decode("latin-1")
            if line in _ENDS:
                break
        return None

    def all(self, name: bytes) -> list[str]:
        """Return every value of a field, by its lower-case name."""
        sought = name.decode("ascii")
        return [value for given, value in self.items() if given.lower() == sought]

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield every field as name and value, in the order they came."""
        for line in self._lines:
            if line in _ENDS:
                break
            name, mark, value = line.decode("latin-1").partition(":")
            if mark:
                yield name.strip(), value.strip()
