"""Lua scripts as server functions: one library of them all, in which what many reach stands once.

A file of ``lua/`` is a script, one of ``lua/include/`` holds what several share; ``-- needs: ...`` in a file's header
names the includes whose names it uses itself. What a file declares starts at the beginning of a line, and its spelling
says when it is made: functions and ``CONSTANTS`` once, when the server loads the library, every other local anew in
each run that reaches it. What no script reaches is left out.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from itertools import chain
from typing import TYPE_CHECKING, Final

from relay.store.key_names import CHANNELS, SHARED, TRAIL
from relay.store.lua_keys import lua_prelude

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

#: With which the names of the library and its functions begin.
PREFIX: Final = "relay_"
#: The only scripts that a full server may refuse: they bring new work, the others record work that was done.
_REFUSABLE: Final = frozenset({"accept", "replay_make", "replay_create"})
_FOLDER: Final = resources.files("relay.store") / "lua"
_NEEDS: Final = re.compile(r"^-- needs: (.+)$", re.MULTILINE)
_RECORDS: Final = re.compile(r"^-- record (\w+): (.+(?:\n--   .+)*)", re.MULTILINE)
_KEYS: Final = "KEY"
_VERSION: Final = "<version>"
#: What so many scripts reach stands once in the library; fewer have copies, for Lua allows 200 locals at a time.
_COMMON: Final = 3
_NAME: Final = re.compile(r"(?<![\w:])(?<!(?<!\.)\.)(?:KEY\.\w+|[A-Za-z_]\w*)")
_STRING: Final = re.compile(r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"")
_COMMENT: Final = re.compile(r"--.*")
_DECLARATION: Final = re.compile(
    r"function (?P<key>KEY\.\w+)|local function (?P<function>\w+)|local (?P<locals>\w+(?:, \w+)*)(?P<value> = )?"
)
_LATER: Final = re.compile(r"(?P<function>\w+) = function\b")


@dataclass(frozen=True, slots=True)
class ScriptFunction:
    """A script as the server knows it."""

    name: str
    is_shared: bool  # whether its keys are those that all partitions have in common


@dataclass(frozen=True, slots=True)
class Library:
    """What the server is given, and the functions in it by their scripts' names."""

    name: str
    text: str
    functions: Mapping[str, ScriptFunction]


@dataclass(frozen=True, slots=True)
class LuaPart:
    """A declaration or a statement at the beginning of a line, and the lines that belong to it."""

    names: tuple[str, ...]  # that it declares
    made: str  # at load, before functions that use them; '' for nothing
    run: str  # in each run; '' for nothing
    uses: frozenset[str]  # names that occur in it
    place: tuple[str, int] = ("", 0)  # its file and its number in it, which tell it from any other

    @property
    def states(self) -> tuple[str, ...]:
        """The names that stand above everything else, for each run gives them values."""
        return () if self.made else self.names


@dataclass(frozen=True, slots=True)
class LuaFile:
    """A file of ``lua/``, taken apart."""

    name: str
    needs: tuple[str, ...]
    parts: tuple[LuaPart, ...]

    @property
    def names(self) -> frozenset[str]:
        """What it declares."""
        return frozenset(name for part in self.parts for name in part.names)

    @property
    def uses(self) -> frozenset[str]:
        """The names that occur in it."""
        return frozenset().union(*(part.uses for part in self.parts))


@cache
def library() -> Library:
    """All scripts. The names change with the text, so that versions stand side by side.

    Threads may ask at once, and then each makes its own: the text is the same, whoever makes it.
    """
    reached = {script: _reached(source(script)) for script in scripts()}
    text = _linked(reached)
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    functions = {
        script: ScriptFunction(f"{PREFIX}{script}_{version}", _is_shared(script, parts))
        for script, parts in reached.items()
    }
    return Library(f"{PREFIX}{version}", f"#!lua name={PREFIX}{version}\n{text.replace(_VERSION, version)}", functions)


def scripts() -> list[str]:
    """The names of all scripts."""
    return sorted(entry.name.removesuffix(".lua") for entry in _FOLDER.iterdir() if entry.name.endswith(".lua"))


@cache
def source(script: str) -> LuaFile:
    """A script's file."""
    text = (_FOLDER / f"{script}.lua").read_text("utf-8")
    return _file_from(script, text, _statement)


@cache
def include(name: str) -> LuaFile:
    """An include's file; of the name ``keyspace`` the functions that build the names of keys."""
    if name == "keyspace":
        return _file_from(name, lua_prelude(), lambda part: _shared(name, part))
    text = (_FOLDER / "include" / f"{name}.lua").read_text("utf-8")
    return _file_from(name, text, lambda part: _shared(name, part))


def needed(names: Iterable[str]) -> list[LuaFile]:
    """These includes and what they need in turn, each after what it needs."""
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


def _is_shared(script: str, parts: Iterable[LuaPart]) -> bool:
    made = {name.removeprefix(f"{_KEYS}.") for part in parts for name in part.names if name.startswith(f"{_KEYS}.")}
    kinds = {kind in SHARED for kind in made - CHANNELS.keys() - TRAIL.keys()}
    if len(kinds) > 1:
        raise ValueError(f"lua/{script}.lua names keys of two roots: of a partition, and of all in common")
    return True in kinds


def _linked(reached: Mapping[str, list[LuaPart]]) -> str:
    """The text: first what many scripts reach, then of each script a block with the rest of what it reaches."""
    users = Counter(chain.from_iterable(reached.values()))  # in the order in which they were met
    common = {part: None for part, count in users.items() if count >= _COMMON}
    lines = [f"local {', '.join(['ROOT', 'ARGV', *_states(common)])}", f"local {_KEYS} = {{}}"]
    lines += [part.made for part in common if part.made]
    for script, parts in reached.items():
        lines += _block(script, [part for part in parts if part not in common], [part.run for part in parts])
    return "\n".join(lines)


def _block(script: str, own: list[LuaPart], runs: list[str]) -> Iterator[str]:
    yield "do"
    if states := _states(own):
        yield f"local {', '.join(states)}"
    yield from (part.made for part in own if part.made)
    yield "redis.register_function{"
    flags = "" if script in _REFUSABLE else "'allow-oom'"
    yield f"function_name = '{PREFIX}{script}_{_VERSION}', flags = {{ {flags} }},"
    yield "callback = function(keys, arguments)"
    yield "ROOT, ARGV = keys[1], arguments"
    yield from filter(None, runs)
    yield "end }"
    yield "end"


def _states(parts: Iterable[LuaPart]) -> dict[str, None]:
    return dict.fromkeys(chain.from_iterable(part.states for part in parts))


def _reached(script: LuaFile) -> list[LuaPart]:
    """The parts that a script's statements need, in the order of their files."""
    sources = [*needed(script.needs), script]
    declared = [name for each in sources for name in sorted(each.names)]
    if twice := sorted({name for name in declared if declared.count(name) > 1}):
        raise ValueError(f"lua/{script.name}.lua and what it needs declare twice: {', '.join(twice)}")
    parts = list(chain.from_iterable(each.parts for each in sources))
    declaring: dict[str, list[LuaPart]] = {}
    for part in parts:
        for name in part.names:
            declaring.setdefault(name, []).append(part)
    reached: set[LuaPart] = set()
    left = [part for part in script.parts if part.run]
    while left:
        part = left.pop()
        if part not in reached:
            reached.add(part)
            left.extend(chain.from_iterable(declaring.get(name, ()) for name in part.uses))
    return [part for part in parts if part in reached]


def _file_from(name: str, text: str, make_part: Callable[[str], LuaPart]) -> LuaFile:
    needs = _NEEDS.search(text)
    readers = [_shared(name, _reader(reader, fields)) for reader, fields in _RECORDS.findall(text)]
    parts = [*readers, *(make_part(part) for part in _split(text))]
    placed = tuple(replace(part, place=(name, number)) for number, part in enumerate(parts))
    return LuaFile(name, tuple(needs.group(1).split(", ")) if needs else (), placed)


def _split(text: str) -> Iterator[str]:
    """What starts at the beginning of a line, each with the lines that belong to it; comments are left out."""
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
    """A part of an include, which declares something."""
    found = _DECLARATION.match(text) or _LATER.match(text)
    if text == f"local {_KEYS} = {{}}":
        return LuaPart((), "", "", frozenset())
    if found is None:
        raise ValueError(f"lua/include/{where}.lua declares nothing here: {text}")
    return _declaration(found, text, is_statement=False)


def _statement(text: str) -> LuaPart:
    """A part of a script."""
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


def _reader(name: str, listed: str) -> str:
    """A function that reads named fields of a record, for ``-- record NAME: field field ...`` (the first is state).

    A table written out with its names costs Lua a fraction of one that is filled name by name.
    """
    fields = listed.replace("--", " ").split()
    asked = ", ".join(f"'{field}'" for field in fields)
    members = ", ".join(f"{field} = f[{number}] or ''" for number, field in enumerate(fields, 1))
    return (
        f"local function {name}(ref)\n"
        f"  local f = redis.call('HMGET', KEY.record(ref), {asked})\n"
        f"  if not f[1] then return nil end\n"
        f"  return {{ ref = ref, {members} }}\n"
        f"end"
    )
