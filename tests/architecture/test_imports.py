"""Import rules: the contracts of pyproject.toml hold, and no library is imported that it does not name."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from importlinter.cli import lint_imports

from relay.cli import COMMANDS

from .sources import PACKAGES, ROOT, modules, tree_of


@pytest.fixture
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.usefixtures("in_root")
def test_every_import_contract_is_kept(capsys):
    assert lint_imports(config_filename=os.fspath(ROOT / "pyproject.toml"), no_cache=True) == 0, capsys.readouterr().out


def imported(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_every_library_that_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["server"], *extras["embedded"], *extras["otel"]]
    declared = {plain(re.split(r"[\[<>=~!; ]", text)[0]) for text in wanted}
    foreign = {name for path in modules() for name in imported(path)} - set(sys.stdlib_module_names) - set(PACKAGES)
    owners = packages_distributions()
    assert not {name for name in foreign if not declared & {plain(owner) for owner in owners.get(name, [])}}


def plain(name):
    return name.lower().replace("_", "-").replace(".", "-")


#: Libraries that take as long to load as everything else, and the programs that start without each.
SPARED = {
    ("celery.app", "kombu.entity", "gevent", "flower", "falcon"): [f"relay.cli.{command}" for command in COMMANDS],
    ("relay.worker_runtime", "relay.executor", "pycurl"): ["workers.lane_app"],
    ("celery.app", "kombu.entity", "gevent", "flower", "pycurl"): ["api.app"],
}


@pytest.mark.parametrize(("large", "programs"), SPARED.items(), ids=["commands", "Flower", "the API"])
def test_a_process_loads_nothing_large_that_it_may_never_use(large, programs):
    """Several programs are loaded in one process, which then has loaded everything that each of them loads."""
    code = f"import sys, {', '.join(programs)}; print(*(set({large}) & sys.modules.keys()))"
    environ = {**os.environ, "RELAY_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
