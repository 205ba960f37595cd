"""The npm package in clients/javascript: its types, what it ships, and that it is the module that the relay serves."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from relay.domain.invocation import FINAL, State
from tests.javascript import MODULE
from tests.tools import require

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "javascript"
TYPES = ROOT / "relay" / "declarations" / "webhooks.d.ts"
DESCRIPTION = json.loads((PACKAGE / "package.json").read_text())


def compiled(folder):
    command = [require("tsc"), "--project", "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, check=False)


@pytest.fixture
def copy(tmp_path):
    """A checkout that contains only the package and the files that it copies."""
    target = tmp_path / "clients" / "javascript"
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("node_modules", "webhooks.*", "LICENSE"))
    for path in (MODULE, TYPES, ROOT / "LICENSE"):
        place = tmp_path / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    subprocess.run([require("node"), str(target / "prepare.mjs")], check=True, timeout=30)
    return target


#: Changes to the types after which they contradict the module; the first renames a call.
DISAGREEING = {
    "another name": ("  triggerAsync<", "  triggerLater<"),
    "another type": ("state: State;", "state: number;"),
    "another argument": ("[data?: Member", "[data: number, more?: Member"),
}


def test_typescript_accepts_the_declared_types_and_notices_those_that_do_not_agree_with_the_module(copy):
    """All are compiled in one run, because the compiler spends most of its time on reading the browsers' types."""
    folder = copy.parent
    for name, (before, after) in DISAGREEING.items():
        types = shutil.copytree(copy, folder / name) / "webhooks.d.ts"
        types.write_text(types.read_text().replace(before, after, 1))
    described = json.loads((PACKAGE / "tsconfig.json").read_text())
    files = [f"{each.name}/{file}" for each in folder.iterdir() for file in described["files"]]
    (folder / "tsconfig.json").write_text(json.dumps(described | {"files": files}))
    done = compiled(folder)
    assert done.returncode != 0
    assert {line.partition("/")[0] for line in done.stdout.splitlines() if ": error " in line} == DISAGREEING.keys()


def test_the_states_are_those_of_the_relay_and_the_module_waits_for_those_that_are_final():
    (listed,) = re.findall(r"export type State =([^;]*);", TYPES.read_text())
    assert re.findall(r'"(\w+)"', listed) == [state.value for state in State]
    (final,) = re.findall(r"const FINAL = new Set\(\[(.*)\]\);", MODULE.read_text())
    assert set(re.findall(r'"(\w+)"', final)) == {state.value for state in FINAL}


def test_the_package_ships_the_module_that_the_relay_serves(copy):
    assert (copy / "webhooks.js").read_bytes() == MODULE.read_bytes()
    assert (copy / "webhooks.d.ts").read_bytes() == TYPES.read_bytes()
    assert all((copy / name).is_file() for name in DESCRIPTION["files"])
    assert {path for paths in [DESCRIPTION["exports"]["."]] for path in paths.values()} <= {
        f"./{name}" for name in DESCRIPTION["files"]
    }


def test_the_package_has_the_relay_s_version_and_no_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (DESCRIPTION["name"], DESCRIPTION["version"]) == (project["name"], project["version"])
    assert "dependencies" not in DESCRIPTION
