"""Turns the Lua scripts into one library of server functions; code that several scripts use is in it once.

Declarations that no script uses are left out.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Final

from relay.store.keys.names import CHANNELS, PARTITIONED, SHARED, TRAIL
from relay.store.scripting.lua_files import KEYS, Kind, needed, scripts, source
from relay.store.scripting.prelude import FENCED
from relay.store.server.replicas import KEPT_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from relay.store.scripting.lua_files import LuaFile, LuaPart

#: The prefix of the names of the library and its functions.
PREFIX: Final = "relay_"
#: The only scripts that a full server may refuse: they add new work; the others record work that was done.
_REFUSABLE: Final = frozenset({"accept", "replay_make", "replay_create"})
#: Scripts that move calls on; they do nothing while their partition is fenced by a restore (store/backups/epoch.py).
#: `accept` and `callbacks` look themselves, and what was done is always recorded.
_FENCED: Final = frozenset(
    {
        *("claim", "advance", "take", "sweep", "expire", "revisit", "resume", "close_breaker", "wake", "cancel"),
        *("replay_make", "replay_add", "replay_plan", "replay_claim", "replay_create", "replay_leave", "replay_steer"),
        *("prune", "drop_contents", "count_notes"),
    }
)
_VERSION: Final = "<version>"
_LOCAL: Final = "local "


@dataclass(frozen=True, slots=True)
class ScriptFunction:
    """A script as the server knows it."""

    name: str
    is_shared: bool  # whether its keys belong to no partition
    kind: Kind


@dataclass(frozen=True, slots=True)
class Library:
    """The library's text as the server loads it, and its functions by the names of their scripts."""

    name: str
    text: str
    functions: Mapping[str, ScriptFunction]


@cache
def library() -> Library:
    """Return the library of all scripts. Its names contain a hash of its text, so that versions can exist side by side.

    Threads that call this at the same time each make their own copy, all with the same text.
    """
    reached = {script: _reached(source(script)) for script in scripts()}
    text = _linked(reached)
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    functions = {
        script: ScriptFunction(f"{PREFIX}{script}_{version}", _is_shared(script, parts), source(script).kind)
        for script, parts in reached.items()
    }
    return Library(f"{PREFIX}{version}", f"#!lua name={PREFIX}{version}\n{text.replace(_VERSION, version)}", functions)


def _is_shared(script: str, parts: Iterable[LuaPart]) -> bool:
    made = {name.removeprefix(f"{KEYS}.") for part in parts for name in part.names if name.startswith(f"{KEYS}.")}
    kinds = {kind in SHARED for kind in made - CHANNELS.keys() - TRAIL.keys()}
    if len(kinds) > 1:
        raise ValueError(f"lua/{script}.lua names keys of two roots: of a partition, and of all in common")
    return True in kinds


def _linked(reached: Mapping[str, list[LuaPart]]) -> str:
    """Return the library's text: a block per include, with what several scripts use, then a block per script."""
    users = Counter(chain.from_iterable(reached.values()))  # in the order of their first use
    common = {part: None for part, count in users.items() if count > 1}
    blocks: defaultdict[str, set[str]] = defaultdict(set)  # by name, the blocks that use it; '': scripts' blocks
    for part in users:
        block = part.place[0] if part.made and part in common else ""
        for name in part.uses:
            blocks[name].add(block)
    lines = [f"local {', '.join(['ROOT', 'ARGV', *_states(common)])}", f"local {KEYS} = {{}}"]
    for file in needed(dict.fromkeys(part.place[0] for part in common)):
        lines += _include_block(file.name, [part for part in file.parts if part.made and part in common], blocks)
    for script, parts in reached.items():
        lines += _script_block(script, [part for part in parts if part not in common], [part.run for part in parts])
    return "\n".join(lines)


def _include_block(include_name: str, parts: list[LuaPart], blocks: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield the lines of an include's block; only names that other blocks use become locals outside it.

    Lua allows 200 locals at a time; those of a block that has ended do not count.
    """
    exported = [
        name
        for part in parts
        for name in part.names
        if part.made.startswith(_LOCAL) and any(blocks[other] - {include_name} for other in part.names)
    ]
    if exported:
        yield f"{_LOCAL}{', '.join(exported)}"
    yield f"do -- lua/include/{include_name}.lua"
    for part in parts:
        yield part.made.removeprefix(_LOCAL) if part.names[0] in exported else part.made
    yield "end"


def _script_block(script: str, own: list[LuaPart], runs: list[str]) -> Iterator[str]:
    yield f"do -- lua/{script}.lua"
    if states := _states(own):
        yield f"local {', '.join(states)}"
    yield from (part.made for part in own if part.made)
    yield "redis.register_function{"
    kind = source(script).kind
    flags = "'no-writes'" if kind is Kind.READS else "" if script in _REFUSABLE else "'allow-oom'"
    yield f"function_name = '{PREFIX}{script}_{_VERSION}', flags = {{ {flags} }},"
    yield "callback = function(keys, arguments)"
    yield "ROOT, ARGV = keys[1], arguments"
    if script in _FENCED:
        fence = f"redis.call('HGET', ROOT .. '{PARTITIONED['pending']}', 'fence')"
        yield f"if {fence} then return redis.error_reply('{FENCED}') end"
    if kind is Kind.CONFIRMS:  # a write for `WAIT`, even if the script is a repeated one
        yield f"if keys[2] then redis.call('SET', keys[2], 1, 'PX', {KEPT_MS}) end"
    yield from filter(None, runs)
    yield "end }"
    yield "end"


def _states(parts: Iterable[LuaPart]) -> dict[str, None]:
    return dict.fromkeys(chain.from_iterable(part.states for part in parts))


def _reached(script: LuaFile) -> list[LuaPart]:
    """Return the parts that a script's statements use, directly or indirectly, in the order of their files."""
    sources = [*needed(script.needs), script]
    declared = Counter(name for each in sources for name in each.names)
    if twice := sorted(name for name, count in declared.items() if count > 1):
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
            left.extend(chain.from_iterable(declaring[name] for name in declaring.keys() & part.uses))
    return [part for part in parts if part in reached]
