"""Rules about the Lua scripts: their headers, the includes that they need, and no undeclared names."""

from __future__ import annotations

import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from relay.store.scripting import library as linking
from relay.store.scripting import lua_files
from relay.store.scripting.library import library
from relay.store.scripting.lua_files import include, needed, scripts, source

from .lua_bytecode import globals_of, most_upvalues
from .sources import ROOT

LUA = ROOT / "relay" / "store" / "lua"
INCLUDES = sorted(path.stem for path in (LUA / "include").glob("*.lua"))
PATHS = {path.stem: path.relative_to(LUA).as_posix() for path in LUA.glob("*/*.lua") if path.parent.name != "include"}
FILES = [
    *((PATHS[name], source(name)) for name in scripts()),
    *((f"include/{name}.lua", include(name)) for name in INCLUDES),
]
#: The globals that the server provides, and those of Lua itself that the scripts use.
GIVEN = {
    "redis", "cjson", "string", "table", "math", "tonumber", "tostring", "ipairs", "pairs", "unpack", "select", "type",
    "pcall", "error",
}  # fmt: skip
MOST_LOCALS = 195  # Lua allows a function 200 at a time
MOST_UPVALUES = 50  # Lua allows 60
DECLARED = re.compile(r"^local (?:function )?(\w+(?:, \w+)*)", re.MULTILINE)
TEXT = library().text.partition("\n")[2]
BLOCK = re.compile(r"^do -- lua/([\w/]+)\.lua$", re.MULTILINE)
#: The lines before the first block; then, for each include and script, its name, its lines, and the lines after it.
HEAD, *NAMED = BLOCK.split(TEXT)
BLOCKS = dict(zip(NAMED[::2], NAMED[1::2], strict=True))


def parts_of(block):
    """Split a block into the lines within it, and the locals after it, which later blocks see."""
    within, _, after = block.rpartition("\nend")
    return within, after


def common():
    return TEXT.partition("\ndo -- lua/accept.lua")[0]


def block_of(script):
    return BLOCKS[script]


def locals_in(text):
    return [name for names in DECLARED.findall(text) for name in names.split(", ")]


def header_of(name):
    lines = (LUA / name).read_text(encoding="utf-8").splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return "\n".join(lines[:end])


def test_a_script_s_header_names_its_keys_arguments_and_reply():
    for name, _ in FILES:
        header = header_of(name)
        assert header.startswith(f"-- {name.split('/')[-1].removesuffix('.lua')}: ")
        if not name.startswith("include/"):
            assert all(f"\n-- {part} " in header for part in ("KEYS", "ARGV", "Returns")), name


def arguments_of(header):
    """Return a header's names of the numbered arguments, and the number from which others follow (`3... the ids`)."""
    text = re.sub(r"\s*\n-- +", "  ", header.partition("-- ARGV")[2].partition("\n-- Returns")[0])
    found = re.findall(r"  ([0-9]+)(?:-([0-9]+))? (\w+)", text)
    named = {number: name for first, last, name in found for number in range(int(first), int(last or first) + 1)}
    return named, re.findall(r"  ([0-9]+)\.\.\.", text)


@pytest.mark.parametrize("name", scripts())
def test_a_script_reads_each_argument_where_its_header_says_that_it_is(name):
    named, rest = arguments_of(header_of(PATHS[name]))
    text = re.sub(r"--.*", "", (LUA / PATHS[name]).read_text(encoding="utf-8"))
    taken = {int(number): "grace_ms" for number in re.findall(r"^grace_from\((\d+)\)", text, re.MULTILINE)}
    taken |= {int(number): "margin_ms" for number in re.findall(r"^lease_margin_from\((\d+)\)", text, re.MULTILINE)}
    for token, margin in re.findall(r"^conclude_from\((\d+), (\d+)\)", text, re.MULTILINE):
        taken |= {int(token): "token", int(margin): "margin_ms"}
    for first in re.findall(r"^retention_from\((\d+)\)", text, re.MULTILINE):
        taken |= dict.fromkeys(range(int(first), int(first) + 4), "retention")
    assert taken == {number: named.get(number) for number in taken}
    assert {*taken, *map(int, re.findall(r"ARGV\[(\d+)\]", text))} == named.keys()
    assert set(re.findall(r"for \w+ = (\d+), #ARGV do", text)) <= set(rest)


def test_a_file_needs_the_includes_of_which_it_uses_a_name_itself_and_no_others():
    for name, file in FILES:
        own = {
            i: (frozenset().union(*(part.uses for part in file.parts)) - file.names) & include(i).names
            for i in INCLUDES
            if i != file.name or not name.startswith("include/")
        }
        assert sorted(file.needs) == sorted(i for i, names in own.items() if names), name


def test_every_include_is_needed():
    assert {each.name for name in scripts() for each in needed(source(name).needs)} == {*INCLUDES, "keyspace"}


def test_the_library_touches_no_name_that_nobody_declares():
    read, written = globals_of(TEXT)
    assert read <= GIVEN
    assert not written


def test_an_undeclared_name_would_be_found():
    read, written = globals_of("local function f() return missing + 1 end\nfunction g() return f() end")
    assert (read, written) == ({"missing"}, {"g"})


def test_a_record_is_read_by_the_functions_that_headers_declare_and_in_no_other_way():
    """A field list has one name, and a name has one field list."""
    read = re.compile(r"'H(?:M?GET|GETALL|VALS|RANDFIELD|SCAN)', (?:KEY\.record\(|record\b)")
    assert [name for name, _ in FILES if read.search((LUA / name).read_text("utf-8"))] == []
    assert re.search(read, "redis.call('HGET', KEY.record(ref), 'state')")
    declared = [
        (reader, tuple(fields.replace("--", " ").split()))
        for name, _ in FILES
        for _, reader, fields in lua_files._READERS.findall((LUA / name).read_text("utf-8"))
    ]
    assert len({reader for reader, _ in declared}) == len({fields for _, fields in declared}) == len(declared)


def test_every_function_of_a_script_is_used():
    declared = [(name, each) for name in scripts() for each in source(name).names]
    assert [(name, each) for name, each in declared if len(re.findall(rf"\b{each}\b", block_of(name))) < 2] == []


def test_the_library_stays_far_from_lua_s_limits():
    """A block's locals end with the block; those between blocks count until the end of the library."""
    standing, most = len(locals_in(HEAD)), 0
    for block in BLOCKS.values():
        within, after = parts_of(block)
        most = max(most, standing + len(locals_in(within)))
        standing += len(locals_in(after))
    assert standing < most <= MOST_LOCALS
    assert most_upvalues(TEXT) <= MOST_UPVALUES


def test_a_local_of_an_include_is_seen_by_others_only_where_they_use_it():
    blocks = {name: parts_of(block)[0] for name, block in BLOCKS.items()}
    exported = [name for block in BLOCKS.values() for name in locals_in(parts_of(block)[1])]
    assert exported
    for name in exported:
        assert sum(bool(re.search(rf"\b{name}\b", text)) for text in blocks.values()) > 1, name


def test_what_several_scripts_reach_stands_once_and_what_none_does_nowhere():
    functions = re.findall(r"^(?:local )?function ([\w.]+)", common(), re.MULTILINE)
    assert len(functions) == len(set(functions))
    assert TEXT.count("function wake_all(") == common().count("function wake_all(") == 1
    assert "local function park_unwanted" in block_of("claim")
    assert TEXT.count("local function park_unwanted") == 1
    made = set(re.findall(r"function (KEY\.\w+)\(", TEXT))
    names = {name for name in include("keyspace").names if name.startswith("KEY.")}
    assert made == {name for name in names if re.search(rf"(?<!function ){name}\b", TEXT)}


def test_a_script_touches_keys_of_one_root():
    functions = library().functions
    assert {name for name in scripts() if functions[name].is_shared} == {
        *("beat", "name_webhooks", "rewrite_key_decisions", "write_keys")
    }
    made = [part for part in include("keyspace").parts if set(part.names) & {"KEY.workers", "KEY.record"}]
    with pytest.raises(ValueError, match="two roots"):
        linking._is_shared("mixed", made)


def test_each_run_of_a_script_begins_with_its_own_state():
    made, run = block_of("claim").split("callback = function", 1)
    assert "effects = {" not in common() + made
    assert "\neffects = {" in run
    assert "\nFINAL = {" in common()
    assert "\nreplies" not in made


def test_the_names_tell_versions_apart(monkeypatch):
    before = library()
    changed = source("join").parts[0].__class__((), "", "return 2", frozenset())
    files = {name: source(name) for name in scripts()} | {"join": lua_files.LuaFile("join", (), (changed,), "counts")}
    monkeypatch.setattr(linking, "source", files.__getitem__)
    after = library.__wrapped__()
    assert before.name != after.name
    assert before.name in before.text
    assert not {each.name for each in before.functions.values()} & {each.name for each in after.functions.values()}


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
        return lua_files._file_from(name, text, lambda part: lua_files._shared(name, part))

    monkeypatch.setattr(lua_files, "include", faked)
    with pytest.raises(ValueError, match=message):
        needed(["a"])


def test_a_name_that_is_declared_twice_is_refused():
    twice = lua_files._file_from("join", "-- needs: clock\nlocal now = 1\nreturn now", lua_files._statement)
    with pytest.raises(ValueError, match="declare twice: now"):
        linking._reached(twice)


def test_threads_that_ask_at_once_make_the_same_library():
    """A process that had made a different library would, as long as it lives, run scripts whose helpers are missing."""
    begin = threading.Barrier(8)

    def made(_number):
        begin.wait()
        return library().text

    texts = set()
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as threads:
            for _ in range(5):
                for cached in (library, source, include):
                    cached.cache_clear()
                texts.update(threads.map(made, range(8)))
    finally:
        sys.setswitchinterval(interval_s)
    assert [text.partition("\n")[2] for text in texts] == [TEXT]
