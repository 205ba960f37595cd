"""Reads from compiled Lua 5.1 which globals a text uses, to find undeclared names."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from lupa import lua51

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER_BYTES = 12
_GET_GLOBAL, _SET_GLOBAL = 5, 7
_OPCODE_BITS, _BX_SHIFT = 0x3F, 14


def globals_of(text: str) -> tuple[set[str], set[str]]:
    """Return the globals that ``text`` and the functions in it read, and those that they write."""
    chunk = _Chunk(text)
    return chunk.read, chunk.written


def most_upvalues(text: str) -> int:
    """Return the largest number of upvalues (locals of enclosing functions) that a function in ``text`` uses."""
    return _Chunk(text).upvalues


class _Chunk:
    def __init__(self, text: str) -> None:
        dump = lua51.LuaRuntime(encoding=None).eval(b"function(text) return string.dump(assert(loadstring(text))) end")
        self._code = dump(text.encode())
        assert self._code.startswith(b"\x1bLua\x51")
        self._at = _HEADER_BYTES
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.upvalues = 0
        self._function()

    def _function(self) -> None:
        self._text()  # source
        self._skip(4 + 4)  # its lines
        self.upvalues = max(self.upvalues, self._code[self._at])
        self._skip(4)  # counts of upvalues and parameters, size of the stack
        instructions = [self._number() for _ in self._counted()]
        constants = [self._constant() for _ in self._counted()]
        for instruction in instructions:
            if (opcode := instruction & _OPCODE_BITS) in (_GET_GLOBAL, _SET_GLOBAL):
                names = self.read if opcode == _GET_GLOBAL else self.written
                names.add(str(constants[instruction >> _BX_SHIFT]))
        for _ in self._counted():
            self._function()
        for _ in self._counted():
            self._skip(4)  # lines of instructions
        for _ in self._counted():
            self._text()  # locals
            self._skip(8)
        for _ in self._counted():
            self._text()  # upvalues

    def _constant(self) -> str | None:
        kind = self._code[self._at]
        self._skip(1)
        if kind == 4:
            return self._text()
        self._skip({0: 0, 1: 1, 3: 8}[kind])
        return None

    def _counted(self) -> Iterator[int]:
        return iter(range(self._number()))

    def _number(self) -> int:
        (number,) = struct.unpack_from("<I", self._code, self._at)
        self._skip(4)
        return int(number)

    def _text(self) -> str:
        (size,) = struct.unpack_from("<Q", self._code, self._at)
        self._skip(8 + size)
        return self._code[self._at - size : self._at - 1].decode() if size else ""

    def _skip(self, size: int) -> None:
        self._at += size
