"""Rules about the Lua scripts: headers, what needs what, and no name that nobody declares."""

from __future__ import annotations

import re

import pytest

from relay.store import library as linking
from relay.store.library import include, library, needed, scripts, source

from .lua_bytecode import globals_of, most_upvalues
from .sources import ROOT

LUA = ROOT / "relay" / "store" / "lua"
INCLUDES = sorted(path.stem for path in (LUA / "include").glob("*.lua"))
FILES = [
    *((f"{name}.lua", source(name)) for name in scripts()),
    *((f"include/{name}.lua", include(name)) for name in INCLUDES),
]
#: What the server gives to every function, and of Lua's own what the scripts use.
GIVEN = {
    "redis", "cjson", "string", "table", "math", "tonumber", "tostring", "ipairs", "pairs", "unpack", "select", "type",
}  # fmt: skip
MOST_LOCALS = 170  # Lua has 200 for a function
MOST_UPVALUES = 50  # and 60


def header_of(name):
    lines = (LUA / name).read_text(encoding="utf-8").splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return "\n".join(lines[:end])


@pytest.mark.parametrize("name", [name for name, _ in FILES])
def test_a_script_s_header_names_its_keys_arguments_and_reply(name):
    header = header_of(name)
    assert header.startswith(f"-- {name.split('/')[-1].removesuffix('.lua')}: ")
    if not name.startswith("include/"):
        assert all(f"\n-- {part} " in header for part in ("KEYS", "ARGV", "Returns"))


@pytest.mark.parametrize(("name", "file"), FILES, ids=[name for name, _ in FILES])
def test_a_file_needs_the_includes_of_which_it_uses_a_name_itself_and_no_others(name, file):
    own = {i: (file.uses - file.names) & include(i).names for i in INCLUDES if i != file.name or "/" not in name}
    assert sorted(file.needs) == sorted(i for i, names in own.items() if names)


def test_every_include_is_needed():
    assert {each.name for name in scripts() for each in needed(source(name).needs)} == {*INCLUDES, "keyspace"}


@pytest.mark.parametrize("name", scripts())
def test_a_library_touches_no_name_that_nobody_declares(name):
    read, written = globals_of("\n".join(library(name).text.splitlines()[1:]))
    assert read <= GIVEN
    assert not written


def test_an_undeclared_name_would_be_found():
    read, written = globals_of("local function f() return missing + 1 end\nfunction g() return f() end")
    assert (read, written) == ({"missing"}, {"g"})


@pytest.mark.parametrize("name", scripts())
def test_every_function_of_a_script_is_used(name):
    declared = source(name).names
    text = library(name).text
    assert [each for each in declared if len(re.findall(rf"\b{each}\b", text)) < 2] == []


@pytest.mark.parametrize("name", scripts())
def test_a_library_stays_far_from_lua_s_limits(name):
    text = library(name).text.partition("\n")[2]
    lists = re.findall(r"^local (?:function )?([\w, ]+)", text, re.MULTILINE)
    assert sum(len(names.split(",")) for names in lists) <= MOST_LOCALS
    assert most_upvalues(text) <= MOST_UPVALUES


def test_a_library_holds_what_its_script_reaches_and_nothing_else():
    text = library("join").text
    assert "function KEY.record(" in text
    assert "function KEY.payload(" not in text
    assert "local function wake_all" in library("release").text
    assert "local function wake_all" not in library("read").text


def test_a_script_touches_keys_of_one_root():
    assert {name for name in scripts() if library(name).is_shared} == {"alerts", "beat", "name_webhooks"}
    text = "local a = KEY.workers()\nreturn KEY.record(a)"
    parts = [linking.include("keyspace").parts, linking._file_from("mixed", text, linking._statement).parts]
    made = "\n".join(part.made for part in parts[0] if set(part.names) & {"KEY.workers", "KEY.record"})
    with pytest.raises(ValueError, match="two roots"):
        linking._is_shared("mixed", made)


def test_each_run_of_a_script_begins_with_its_own_state():
    made, run = library("claim").text.split("callback = function", 1)
    assert "effects = {" not in made
    assert "\neffects = {" in run
    assert "local FINAL = {" in made


def test_the_name_of_a_library_tells_versions_apart(monkeypatch):
    before = library("join")
    changed = source("join").parts[0].__class__((), "", "return 2", frozenset())
    monkeypatch.setattr(linking, "source", lambda name: linking.LuaFile(name, (), (changed,)))
    after = library.__wrapped__("join")
    assert before.name != after.name
    assert before.name in before.text


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"a": "-- needs: b\nlocal X = 1", "b": "-- needs: a\nlocal Y = 1"}, "need each other"),
        ({"a": "redis.call('PING')"}, "declares nothing"),
    ],
)
def test_what_cannot_be_linked_is_refused(texts, message, monkeypatch):
    def faked(name):
        text = texts.get(name, "local KEY = {}")
        return linking._file_from(name, text, lambda part: linking._shared(name, part))

    monkeypatch.setattr(linking, "include", faked)
    with pytest.raises(ValueError, match=message):
        needed(["a"])


def test_a_name_that_is_declared_twice_is_refused(monkeypatch):
    twice = linking._file_from("join", "-- needs: clock\nlocal now = 1\nreturn now", linking._statement)
    monkeypatch.setattr(linking, "source", lambda _name: twice)
    with pytest.raises(ValueError, match="declare twice: now"):
        library.__wrapped__("join")
