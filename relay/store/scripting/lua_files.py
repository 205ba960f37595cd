"""Parses the files of ``lua/``: what each declares, what it runs, and which names it uses.

Each file is a script, in the folder of its room; a file of ``lua/include/`` holds what several scripts share.
``-- needs: ...`` in a file's header names the includes that it uses directly, and ``-- kind: ...`` in a script's what
it does (`Kind`). A declaration starts at the beginning of a line. Functions and ``CONSTANTS`` are made once, when the
server loads the library; every other local is made anew in each run that uses it.

Records are read only by functions that are generated from headers: ``-- record NAME: state field ...`` returns a table
of the fields, ``-- values NAME: field ...`` the values themselves. A number that has other characters, and a lane that
does not exist, count as missing, and a record of another type as gone: a script that meets a damaged record goes on
with the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

from relay.store.scripting.prelude import lua_constants, lua_prelude

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.resources.abc import Traversable

#: The table of the functions that build the names of keys.
KEYS: Final = "KEY"
#: The fields of a record that are whole numbers.
_NUMBERS: Final = frozenset(
    {
        *("createdAt", "deadline", "endBy", "expiresAt", "finishedAt", "forgottenAt", "keptBytes", "leaseEnd"),
        *("losses", "masked", "notBefore", "open", "parentItem", "parentStep", "pause", "readyAt", "requestBytes"),
        *("responseBytes", "revision", "status", "step", "timeout"),
    }
)
_EMPTY: Final = "''"
#: What stands for a field that every record has, if it is damaged.
_NEEDED: Final = {"createdAt": "created_of(ref)", "lane": "LANES[#LANES]", "requestBytes": "'0'", "timeout": "'0'"}
_FOLDER: Final = resources.files("relay.store") / "lua"
_SHARED_FOLDER: Final = "include"
_KIND: Final = re.compile(r"^-- kind: (\w+)$", re.MULTILINE)
_NEEDS: Final = re.compile(r"^-- needs: (.+)$", re.MULTILINE)
_READERS: Final = re.compile(r"^-- (record|values) (\w+): (.+(?:\n--   .+)*)", re.MULTILINE)
_NAME: Final = re.compile(r"(?<![\w:])(?<!(?<!\.)\.)(?:KEY\.\w+|[A-Za-z_]\w*)")
_STRING: Final = re.compile(r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"")
_COMMENT: Final = re.compile(r"--.*")
_DECLARATION: Final = re.compile(
    r"function (?P<key>KEY\.\w+)|local function (?P<function>\w+)|local (?P<locals>\w+(?:, \w+)*)(?P<value> = )?"
)
_LATER: Final = re.compile(r"(?P<function>\w+) = function\b")


class Kind(StrEnum):
    """What a script does, and so whether its caller waits for replicas (`relay.store.server.replicas`)."""

    READS = "reads"  # the server lets it write nothing
    CONFIRMS = "confirms"  # somebody relies on its reply: a promoted replica has what it wrote
    COUNTS = "counts"  # nobody relies on what it writes: if that is lost, it is done again, or missing in a statistic


@dataclass(frozen=True, slots=True)
class LuaPart:
    """A declaration or statement that starts at the beginning of a line, with the lines that belong to it."""

    names: tuple[str, ...] = field(compare=False)  # the names that it declares
    made: str = field(compare=False)  # source that runs at load, before functions that use the names; or ''
    run: str = field(compare=False)  # source that runs in each run; or ''
    uses: frozenset[str] = field(compare=False)  # the names that occur in it
    place: tuple[str, int] = ("", 0)  # its file and its index there, which identify it

    @property
    def states(self) -> tuple[str, ...]:
        """The names to declare at the top of the library or script, because each run gives them new values."""
        return () if self.made else self.names


@dataclass(frozen=True, slots=True)
class LuaFile:
    """A parsed file of ``lua/``."""

    name: str
    needs: tuple[str, ...]
    parts: tuple[LuaPart, ...]
    declared: str = ""  # the kind, in a script's header

    @property
    def kind(self) -> Kind:
        """What the script does. Raises ``ValueError`` if its header does not say."""
        try:
            return Kind(self.declared)
        except ValueError:
            raise ValueError(f"lua/{self.name}.lua needs a line `-- kind:` with one of {', '.join(Kind)}") from None

    @property
    def names(self) -> frozenset[str]:
        """The names that the file declares."""
        return frozenset(name for part in self.parts for name in part.names)


@cache
def _paths() -> dict[str, Traversable]:
    """Return the file of each script, by the script's name, in the order of the names."""
    rooms = [room for room in _FOLDER.iterdir() if room.is_dir() and room.name != _SHARED_FOLDER]
    files = {file.name.removesuffix(".lua"): file for room in rooms for file in room.iterdir()}
    return dict(sorted(files.items()))


def scripts() -> list[str]:
    """Return the names of all scripts."""
    return list(_paths())


@cache
def source(script: str) -> LuaFile:
    """Parse a script's file."""
    text = _paths()[script].read_text("utf-8")
    return _file_from(script, text, _statement)


@cache
def include(name: str) -> LuaFile:
    """Parse an include's file; ``keyspace`` is not a file, but the generated functions and constants."""
    if name == "keyspace":
        return _file_from(name, f"{lua_prelude()}\n{lua_constants()}", lambda part: _shared(name, part))
    text = (_FOLDER / _SHARED_FOLDER / f"{name}.lua").read_text("utf-8")
    return _file_from(name, text, lambda part: _shared(name, part))


def needed(names: Iterable[str]) -> list[LuaFile]:
    """Return these includes and, recursively, those that they need; each comes after those that it needs.

    Raises:
        ValueError: two includes need each other.
    """
    found: dict[str, LuaFile] = {}

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise ValueError(f"includes need each other: {', '.join(above)}")
        if name not in found:
            for other in include(name).needs:
                add(other, (*above, name))
            found[name] = include(name)

    for name in ("keyspace", *names):
        add(name, ())
    return list(found.values())


def _file_from(name: str, text: str, make_part: Callable[[str], LuaPart]) -> LuaFile:
    needs, kind = _NEEDS.search(text), _KIND.search(text)
    readers = [_shared(name, _READER[kind](reader, fields)) for kind, reader, fields in _READERS.findall(text)]
    parts = [*readers, *(make_part(part) for part in _split(text))]
    placed = tuple(replace(part, place=(name, number)) for number, part in enumerate(parts))
    return LuaFile(name, tuple(needs.group(1).split(", ")) if needs else (), placed, kind.group(1) if kind else "")


def _split(text: str) -> Iterator[str]:
    """Split a text into its top-level declarations and statements, without comments."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("--"):
            continue
        if lines and not line[0].isspace() and not re.match(r"end\b|else|until|[})]", line):
            yield "\n".join(lines)
            lines = []
        lines.append(line)
    if lines:
        yield "\n".join(lines)


def _uses(text: str) -> frozenset[str]:
    return frozenset(_NAME.findall(_COMMENT.sub("", _STRING.sub("''", text))))


def _shared(where: str, text: str) -> LuaPart:
    """Make a part of an include. Raises ``ValueError`` if the text is not a declaration."""
    found = _DECLARATION.match(text) or _LATER.match(text)
    if text == f"local {KEYS} = {{}}":
        return LuaPart((), "", "", frozenset())
    if found is None:
        raise ValueError(f"lua/include/{where}.lua declares nothing here: {text}")
    return _declaration(found, text, is_statement=False)


def _statement(text: str) -> LuaPart:
    """Make a part of a script, from a declaration or a statement."""
    found = _DECLARATION.match(text)
    if found is None:
        return LuaPart((), "", text, _uses(text))
    return _declaration(found, text, is_statement=True)


def _declaration(found: re.Match[str], text: str, *, is_statement: bool) -> LuaPart:
    groups = found.groupdict()
    if single := groups.get("function") or groups.get("key"):
        return LuaPart((single,), text, "", _uses(text))
    names = tuple(groups["locals"].split(", "))
    if all(name.isupper() for name in names):
        return LuaPart(names, text, "", _uses(text))
    value = text.removeprefix("local ") if groups["value"] else f"{', '.join(names)} = nil" if is_statement else ""
    return LuaPart(names, "", value, _uses(text))


def _record_reader(name: str, listed: str) -> str:
    """Return the source of a Lua function that reads the fields that a line ``-- record NAME: field ...`` lists.

    The first field has to be ``state``, which every record has; without it the function returns nil. In Lua, building a
    table from a literal costs a fraction of filling it field by field.
    """
    fields = _fields(listed)
    asked = ", ".join(f"'{field}'" for field in fields)
    members = ", ".join(f"{field} = {_read(field, number, _EMPTY)}" for number, field in enumerate(fields, 1))
    return (
        f"local function {name}(ref)\n"
        f"  local f = fields_of_record(KEY.record(ref), {asked})\n"
        f"  if not f[1] then return nil end\n"
        f"  return {{ ref = ref, {members} }}\n"
        f"end"
    )


def _values_reader(name: str, listed: str) -> str:
    """Return the source of a Lua function that returns the fields that a line ``-- values NAME: field ...`` lists.

    A field that the record lacks is false. ``*`` stands for the list of all fields and their values.
    """
    fields = _fields(listed)
    if fields == ["*"]:
        return f"local function {name}(ref)\n  return redis.call('HGETALL', KEY.record(ref))\nend"
    asked = ", ".join(f"'{field}'" for field in fields)
    values = ", ".join(_read(field, number, "false") for number, field in enumerate(fields, 1))
    return f"local function {name}(ref)\n  local f = fields_of_record(KEY.record(ref), {asked})\n  return {values}\nend"


def _read(field: str, number: int, missing: str) -> str:
    """Return the Lua expression for the field that is the n-th of ``f``; ``missing`` if it is missing or damaged."""
    if field in _NUMBERS:
        return f"whole(f[{number}]) or {_needed(field, missing)}"
    if field == "lane":
        return f"IS_LANE[f[{number}]] and f[{number}] or {_needed(field, missing)}"
    return f"f[{number}] or {missing}"


def _needed(field: str, missing: str) -> str:
    needed = _NEEDED.get(field)
    return f"f[1] and {needed} or {missing}" if needed else missing


def _fields(listed: str) -> list[str]:
    return listed.replace("--", " ").split()


_READER: Final = {"record": _record_reader, "values": _values_reader}
