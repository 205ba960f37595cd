"""Rules about the Lua files: their headers, the modules that they require, and no undeclared names."""

from __future__ import annotations

import re
from collections import deque

import pytest

from relay.store.keys.names import PARTITIONED, SHARED
from relay.store.scripting import library as joining
from relay.store.scripting.library import library

from .lua_bytecode import globals_of, most_upvalues
from .sources import ROOT

LUA = ROOT / "relay" / "store" / "lua"
FILES = {path.stem: path for path in sorted(LUA.glob("*/*.lua"))}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in FILES.items()}
SCRIPTS = sorted(library().functions)
#: Modules that Python makes.
MADE = {"keys": joining.keys_module(), "constants": joining.constants_module()}
#: The globals that the server provides, those of Lua itself that the files use, and what the library begins with.
GIVEN = {
    "redis", "cjson", "string", "table", "math", "tonumber", "tostring", "ipairs", "pairs", "unpack", "select", "type",
    "pcall", "error", "require",
}  # fmt: skip
MOST_UPVALUES = 50  # Lua allows 60
REQUIRED = re.compile(r"^local (?P<name>\w+) = require\('(?P<module>\w+)'\)(?:\.\w+)?$", re.MULTILINE)


def required(name):
    return [found["module"] for found in REQUIRED.finditer({**MADE, **TEXTS}[name])]


def reached(name):
    """Return the files that a file requires, directly or not, and itself."""
    found, left = {name}, deque([name])
    while left:
        new = set(required(left.popleft())) - found
        found |= new
        left.extend(new)
    return found


def header_of(name):
    return TEXTS[name].partition("\n\n")[0]


def test_each_file_has_a_name_of_its_own():
    assert len(FILES) == len(list(LUA.glob("*/*.lua")))
    assert not MADE.keys() & FILES.keys()


def test_a_script_s_header_names_its_keys_arguments_and_reply():
    for name in FILES:
        assert header_of(name).startswith(f"-- {name}: ")
    for name in SCRIPTS:
        assert all(f"\n-- {part} " in header_of(name) for part in ("KEYS", "ARGV", "Returns")), name


def arguments_of(header):
    """Return a header's names of the numbered arguments, and the number from which others follow (`3... the ids`)."""
    text = re.sub(r"\s*\n-- +", "  ", header.partition("-- ARGV")[2].partition("\n-- Returns")[0])
    found = re.findall(r"  ([0-9]+)(?:-([0-9]+))? (\w+)", text)
    named = {number: name for first, last, name in found for number in range(int(first), int(last or first) + 1)}
    return named, re.findall(r"  ([0-9]+)\.\.\.", text)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_reads_each_argument_where_its_header_says_that_it_is(name):
    named, rest = arguments_of(header_of(name))
    text = re.sub(r"--.*", "", TEXTS[name])
    taken = {int(number): "grace_ms" for number in re.findall(r"ready\.read_grace\(run, (\d+)\)", text)}
    taken |= {int(number): "margin_ms" for number in re.findall(r"leases\.read_margin\(run, (\d+)\)", text)}
    for token, margin in re.findall(r"conclude\.read_arguments\(run, (\d+), (\d+)\)", text):
        taken |= {int(token): "token", int(margin): "margin_ms"}
    for first in re.findall(r"finish\.read_retention\(run, (\d+)\)", text):
        taken |= dict.fromkeys(range(int(first), int(first) + 4), "retention")
    assert taken == {number: named.get(number) for number in taken}
    assert {*taken, *map(int, re.findall(r"args\[(\d+)\]", text))} == named.keys()
    assert set(re.findall(r"for \w+ = (\d+), #run\.args do", text)) <= set(rest)


def test_a_file_requires_modules_that_exist_and_uses_each():
    modules = {*MADE, *(name for name in FILES if name not in SCRIPTS)}
    assert set().union(*map(required, SCRIPTS), *map(required, modules - MADE.keys()), ["register", "runs"]) == modules
    for name, text in TEXTS.items():
        assert text.count("require(") == len(required(name))
        for found in REQUIRED.finditer(text):
            assert len(re.findall(rf"\b{found['name']}\b", re.sub(r"--.*|'[^']*'", "", text))) > 1, (name, found[0])


def test_modules_do_not_require_each_other():
    for name in FILES:
        for other in set(required(name)):
            assert name not in reached(other), (name, other)


@pytest.mark.parametrize("name", FILES)
def test_a_file_touches_no_name_that_nobody_declares(name):
    read, written = globals_of(TEXTS[name])
    assert read <= GIVEN
    assert not written


def test_an_undeclared_name_would_be_found():
    read, written = globals_of("local function f() return missing + 1 end\nfunction g() return f() end")
    assert (read, written) == ({"missing"}, {"g"})


def test_a_record_is_read_so_that_a_damaged_one_stops_no_script():
    for name, text in TEXTS.items():
        read = re.findall(r"redis\.\w+\('H(?:M?GET|VALS|RANDFIELD|SCAN)', KEY\.record\(", text)
        assert not read or name == "fields", name


def test_the_library_stays_far_from_lua_s_limits():
    assert most_upvalues(library().text.partition("\n")[2]) <= MOST_UPVALUES


def test_a_script_touches_keys_of_one_root():
    for name in SCRIPTS:
        made = {kind for each in reached(name) if each in TEXTS for kind in re.findall(r"KEY\.(\w+)", TEXTS[each])}
        is_shared = library().functions[name].is_shared
        assert not made & (PARTITIONED if is_shared else SHARED).keys(), name
        assert is_shared == bool(made & SHARED.keys()), name


def test_a_script_that_does_not_declare_itself_is_refused(monkeypatch):
    monkeypatch.setattr(joining, "_read", lambda rooms: iter([("join", "return { kind = 'odd', run = main }\n")]))
    with pytest.raises(ValueError, match=r"lua/.../join\.lua has to end with"):
        library.__wrapped__()


def test_the_names_tell_versions_apart(monkeypatch):
    before, read = library(), joining._read
    monkeypatch.setattr(joining, "_read", lambda rooms: ((name, text + "\n") for name, text in read(rooms)))
    after = library.__wrapped__()
    assert before.name != after.name
    assert before.name in before.text
    assert not {each.name for each in before.functions.values()} & {each.name for each in after.functions.values()}
