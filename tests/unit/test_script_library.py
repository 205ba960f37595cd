"""The library of scripts: every file is in it, and scripts name keys as Python does."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

import relay.store
from relay.queue import GROUP_IDS, LANES, REPLAYS
from relay.registration.steps import MAX_CHAIN_TIMEOUT_S
from relay.store.keys.names import CHANNELS, PARTITIONED, PREFIX, SHARED, TRAIL
from relay.store.scripting.generated_modules import FENCED, MOST_HOPS, constants_module, keys_module
from relay.store.scripting.library import Kind, ScriptFunction, _declared, library
from relay.store.server.clock import UNNOTICED_MS
from relay.store.server.replicas import KEPT_MS

FOLDER = Path(relay.store.__file__).parent / "lua"
KEY = re.compile(r"function KEY\.(\w+)\((\w+)((?:, \w+)*)\) return (.+) end")


def test_scripts_name_each_key_as_python_does():
    first, *lines, last = keys_module().removesuffix("\n").split("\n")
    assert (first, last) == ("local KEY = {}", "return KEY")
    found = {}
    for line in lines:
        kind, run, more, text = KEY.fullmatch(line).groups()
        names = re.findall(r"\w+", more)
        values = {"run.root": "<root>"} | {name: f"<{name}>" for name in names}
        pieces = [piece[1:-1] if piece[0] == "'" else values[piece] for piece in text.split(" .. ")]
        found[kind] = run, names, "".join(pieces)
    expected = {}
    for root, templates in (("<root>", PARTITIONED | SHARED | TRAIL), (PREFIX, CHANNELS)):
        for kind, template in templates.items():
            names = [name for _, name, _, _ in Formatter().parse(template) if name]
            text = root + template.format(**{name: f"<{name}>" for name in names})
            expected[kind] = "run" if root != PREFIX else "_", names, text
    assert found == expected


def test_scripts_know_the_constants_that_they_share_with_python():
    first, *lines, last = constants_module().removesuffix("\n").split("\n")
    assert (first, last) == ("return {", "}")
    assert [line[:2] + line[-1] for line in lines] == ["  ,"] * len(lines)
    assert dict(line[2:-1].split(" = ", 1) for line in lines) == {
        "LANES": "{ " + ", ".join(f"'{lane}'" for lane in LANES) + " }",
        "IS_LANE": "{ [false] = false, " + ", ".join(f"{lane} = true" for lane in LANES) + " }",
        "LAST_LANE": f"'{LANES[2]}'",
        "OWN_CALLERS": "{ alert = true, callback = true }",
        "JOB_LANE": f"'{REPLAYS}'",
        "GROUP_IDS": str(GROUP_IDS),
        "MOST_HOPS": str(MOST_HOPS),
        "CHAIN_KEPT_MS": str(MAX_CHAIN_TIMEOUT_S * 4_000),
        "CONFIRMED_KEPT_MS": str(KEPT_MS),
        "UNNOTICED": str(UNNOTICED_MS),
        "FENCED": f"'{FENCED}'",
    }


def test_the_library_has_every_file_and_each_script_is_a_function():
    made = library.__wrapped__()
    files = sorted(FOLDER.rglob("*.lua"), key=lambda path: (path.parent.name, path.name))
    modules = [path for path in files if path.parent.name == "lib"]
    scripts = [path for path in files if path not in modules]
    version = made.name.removeprefix("relay_")
    assert re.fullmatch("[0-9a-f]{16}", version)
    assert made.text.startswith(f"#!lua name={made.name}\n")
    assert "<version>" not in made.text
    names = ["keys", "constants", *(path.stem for path in [*modules, *scripts])]
    assert re.findall(r"^files\['(\w+)'\] = function\(\)$", made.text, re.MULTILINE) == names
    for path in files:
        assert f"files['{path.stem}'] = function()\n{path.read_text('utf-8')}end\n" in made.text.replace(
            version, "<version>"
        )
    registered = rf"^require\('register'\)\('relay_(\w+)_{version}', files\['(\w+)'\]\(\)\)$"
    assert re.findall(registered, made.text, re.MULTILINE) == [(path.stem, path.stem) for path in scripts]
    assert list(made.functions) == [path.stem for path in scripts]
    for path in scripts:
        last = path.read_text("utf-8").rstrip("\n").rpartition("\n")[2]
        function = made.functions[path.stem]
        assert function.name == f"relay_{path.stem}_{version}"
        assert f"kind = '{function.kind}'" in last
        assert function.is_shared is ("is_shared = true" in last)
        assert function.is_fenced is ("is_fenced = true" in last)
    assert {function.kind for function in made.functions.values()} == set(Kind)


@pytest.mark.parametrize(
    ("last", "is_shared", "is_fenced"),
    [
        ("return { kind = 'reads', run = main }", False, False),
        ("return { kind = 'reads', is_shared = true, run = main }", True, False),
        ("return { kind = 'reads', is_fenced = true, run = main }", False, True),
    ],
)
def test_the_last_line_of_a_script_declares_it(last, is_shared, is_fenced):
    declared = ScriptFunction("relay_x_0", is_shared=is_shared, is_fenced=is_fenced, kind=Kind.READS)
    assert _declared("x", f"local x = 1\n{last}\n", "0") == declared


@pytest.mark.parametrize("last", ["", "return main", "return { kind = 'writes', run = main }", "return { run = main }"])
def test_a_script_that_does_not_declare_itself_is_refused(last):
    with pytest.raises(ValueError, match=r"x\.lua has to end with `return { kind = ..., run = main }`"):
        _declared("x", f"local x = 1\n{last}\n", "0")
