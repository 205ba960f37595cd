"""Writes a trail as JSON lines (its beginning, entries and checkpoints), and reads them to be checked. Pure."""

from __future__ import annotations

import base64
import json
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from relay.audit.checkpoint import Signed
from relay.audit.entry import line_of, raw_from
from relay.audit.verifying import Block
from relay.errors import BadParameter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def lines_of(name: str, begins: Signed | None, blocks: Iterable[Block]) -> Iterator[dict[str, Any]]:
    """Yield the lines of trail ``name``: entries with their numbers, each checkpoint after the entries it covers."""
    return ({"trail": name, **line} for line in _lines(begins, blocks))


def trail_files(lines: Iterable[str | bytes]) -> Iterator[TrailFile]:
    """Yield the trails of an export, one after the other; each must be read to its end before the next is taken."""
    parsed = ((number, _parsed(number, text)) for number, text in enumerate(lines, 1) if text.strip())
    seen: set[str] = set()
    for name, group in groupby(parsed, lambda line: str(line[1].get("trail"))):
        if name in seen:  # all lines of a trail stand together
            raise _fault(next(group)[0])
        seen.add(name)
        yield TrailFile(name, group)  # noqa: B031 - once
        if next(group, None) is not None:  # noqa: B031 - lines that are not read are not checked
            raise RuntimeError("A trail of the export was not read to its end.")


def _lines(begins: Signed | None, blocks: Iterable[Block]) -> Iterator[dict[str, Any]]:
    seq = _first_number(begins)
    if begins is not None:
        yield _signed_line("beginning", begins)
    for block in blocks:
        point = None if block.signed is None else block.signed.checkpoint()
        covered = len(block.entries) if point is None else point.last - point.first + 1
        for number, entry in enumerate(block.entries):
            if number == covered and block.signed is not None:
                yield _signed_line("checkpoint", block.signed)
            yield line_of(seq, entry)
            seq += 1
        if block.signed is not None and len(block.entries) <= covered:
            yield _signed_line("checkpoint", block.signed)


class TrailFile:
    """The lines of one trail of an export, with their numbers, read once."""

    def __init__(self, name: str, lines: Iterator[tuple[int, dict[str, Any]]]) -> None:
        self.name = name
        self.begins: Signed | None = None
        self.misnumbered: int | None = None  # the first entry whose line has a wrong number
        number, line = next(lines)  # it has the trail's beginning, if there is one
        if "beginning" in line:
            self.begins, self._lines = _signed_from(number, line, "beginning"), lines
        else:
            self._lines = chain([(number, line)], lines)

    def blocks(self) -> Iterator[Block]:
        """Yield the entries before each checkpoint together with it, and last the entries without one."""
        entries: list[bytes] = []
        seq = _first_number(self.begins)
        for number, line in self._lines:
            if "checkpoint" in line:
                yield Block(entries, _signed_from(number, line, "checkpoint"))
                entries = []
            else:
                entries.append(_entry(number, line))
                if line.get("seq") != seq and self.misnumbered is None:
                    self.misnumbered = seq
                seq += 1
        if entries:
            yield Block(entries, None, is_open=True)


def _first_number(begins: Signed | None) -> int:
    """Return the number of a trail's first entry."""
    return 1 if begins is None else (begins.beginning() or (1, b""))[0]


def heads_in(lines: Iterable[str | bytes]) -> dict[str, dict[int, bytes]]:
    """Return for each trail the heads of its checkpoints, by the number of their last entry. Nothing is checked."""
    found: dict[str, dict[int, bytes]] = {}
    for trail in trail_files(lines):
        heads = found.setdefault(trail.name, {})
        for block in trail.blocks():
            point = None if block.signed is None else block.signed.checkpoint()
            if point is not None:
                heads[point.last] = point.head
    return found


def _signed_line(name: str, signed: Signed) -> dict[str, Any]:
    return {name: signed.members, "signature": base64.b64encode(signed.signature).decode()}


def _signed_from(number: int, line: dict[str, Any], name: str) -> Signed:
    try:
        return Signed(dict(line[name]), base64.b64decode(line["signature"], validate=True))
    except (KeyError, TypeError, ValueError):
        raise _fault(number) from None


def _parsed(number: int, text: str | bytes) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):  # also if it is not UTF-8
        raise _fault(number) from None
    if not isinstance(line, dict):
        raise _fault(number)
    return line


def _entry(number: int, line: dict[str, Any]) -> bytes:
    """Return a line's entry; for a line made from no entry, bytes that the check finds wrong under its number."""
    try:
        return raw_from({name: value for name, value in line.items() if name != "trail"})
    except (ValueError, UnicodeEncodeError):
        return f"line {number} is not an entry".encode()


def _fault(number: int) -> BadParameter:
    return BadParameter(f"Line {number} of the file is not a line of `relay audit export`.")
