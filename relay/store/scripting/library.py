"""Joins the Lua files into one library of server functions."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

from relay.store.scripting.generated_modules import constants_module, keys_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: The prefix of the names of the library and its functions.
PREFIX: Final = "relay_"
_FOLDER: Final = resources.files("relay.store") / "lua"
#: The folder of the modules, which scripts and other modules load with `require`; the other folders hold scripts.
_MODULES: Final = "lib"
_VERSION: Final = "<version>"
#: The last line of a script's file.
_SCRIPT: Final = re.compile(r"^return { kind = '(?P<kind>\w+)'(?P<more>[^}]*), run = main }$", re.MULTILINE)
_HEAD: Final = """\
local files, loaded = {}, {}
local function require(name)
  if not loaded[name] then loaded[name] = files[name]() end
  return loaded[name]
end
"""


class Kind(StrEnum):
    """What a script does, and so whether its caller waits for replicas (`relay.store.server.replicas`)."""

    READS = "reads"  # the server lets it write nothing
    CONFIRMS = "confirms"  # somebody relies on its reply: a promoted replica has what it wrote
    COUNTS = "counts"  # nobody relies on what it writes: if that is lost, it is redone, or missing from a statistic


@dataclass(frozen=True, slots=True)
class ScriptFunction:
    """A script as the server knows it."""

    name: str
    is_shared: bool  # whether its keys belong to no partition
    is_fenced: bool  # whether it does nothing while a restore fences its partition (relay/store/backups/epoch.py)
    kind: Kind


@dataclass(frozen=True, slots=True)
class Library:
    """The library's text as the server loads it, and its functions by the names of their scripts."""

    name: str
    text: str
    functions: Mapping[str, ScriptFunction]


@cache
def library() -> Library:
    """Return the library of all scripts. Its names contain a hash of its text, so that versions can coexist.

    Raises ``ValueError`` if a script's last line does not declare it (``lua/lib/register.lua``).
    """
    modules = {"keys": keys_module(), "constants": constants_module(), **dict(_read([_MODULES]))}
    scripts = dict(_read(sorted(room.name for room in _FOLDER.iterdir() if room.is_dir() and room.name != _MODULES)))
    text = "".join((_HEAD, *_joined(modules), *_joined(scripts), *map(_registered, scripts)))
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    functions = {script: _declared(script, lines, version) for script, lines in scripts.items()}
    return Library(f"{PREFIX}{version}", f"#!lua name={PREFIX}{version}\n{text.replace(_VERSION, version)}", functions)


def _read(rooms: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each file in these folders."""
    for room in rooms:
        for file in sorted((_FOLDER / room).iterdir(), key=lambda each: each.name):
            yield file.name.removesuffix(".lua"), file.read_text("utf-8")


def _joined(files: Mapping[str, str]) -> Iterator[str]:
    for name, text in files.items():
        yield f"files['{name}'] = function()\n{text}end\n"


def _registered(script: str) -> str:
    return f"require('register')('{PREFIX}{script}_{_VERSION}', files['{script}']())\n"


def _declared(script: str, text: str, version: str) -> ScriptFunction:
    found = _SCRIPT.search(text)
    if found is None or found["kind"] not in set(Kind):
        raise ValueError(f"lua/.../{script}.lua has to end with `return {{ kind = ..., run = main }}`")
    more = found["more"]
    return ScriptFunction(
        f"{PREFIX}{script}_{version}", "is_shared = true" in more, "is_fenced = true" in more, Kind(found["kind"])
    )
