"""Import rules: the contracts of pyproject.toml hold, and no library is imported that it does not name."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from importlinter.cli import lint_imports

from relay.cli import COMMANDS

from .sources import PACKAGES, ROOT, modules, nodes_of


@pytest.fixture
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.usefixtures("in_root")
def test_every_import_contract_is_kept(capsys):
    assert lint_imports(config_filename=os.fspath(ROOT / "pyproject.toml"), no_cache=True) == 0, capsys.readouterr().out


def imported(path):
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_every_library_that_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["server"], *extras["embedded"], *extras["otel"], *extras["asyncio"]]
    declared = {name for text in wanted for name in provided_by(re.split(r"[\[<>=~!; ]", text)[0])}
    foreign = {name for path in modules() for name in imported(path)} - set(sys.stdlib_module_names) - set(PACKAGES)
    assert not foreign - declared


def provided_by(library):
    """Return the names of the modules and packages that a library installs; none if it is not installed."""
    try:
        files = distribution(library).read_text("RECORD") or ""
    except PackageNotFoundError:
        return set()
    return {re.split(r"[/.,]", line)[0] for line in files.splitlines()}


REGISTERS = {
    "relay.registration.fields": "checks registrations, which commands apply",
    "json5": "reads registrations",
    "cryptography.x509": "checks client certificates when they are registered",
}
#: What programs must not load when they start, since it takes long and they may never use it, and what it is for.
UNUSED = {
    "commands": (
        [f"relay.cli.{command}" for command in COMMANDS],
        {
            "celery.app": "publishes ids, and runs tasks",
            "kombu.entity": "publishes ids",
            "gevent": "runs workers' calls",
            "flower": "is a program of its own",
            "falcon": "answers HTTP requests",
        },
    ),
    "Flower": (
        ["workers.lane_app"],
        {
            "relay.wiring.worker_runtime": "wires a worker",
            "relay.executor": "makes calls",
            "pycurl": "makes calls",
        },
    ),
    "the API": (
        ["api.app", "relay.wiring.runtime"],
        {
            "celery.app": "runs tasks",
            "kombu.entity": "publishes ids, and is loaded with what does",
            "gevent": "runs workers' calls",
            "flower": "is a program of its own",
            "pycurl": "makes calls",
            **REGISTERS,
        },
    ),
    "workers": (
        ["workers.app"],
        {
            "falcon": "answers HTTP requests",
            "relay.wiring.runtime": "wires the API and commands",
            **REGISTERS,
        },
    ),
}


@pytest.mark.parametrize(("programs", "unused"), UNUSED.values(), ids=UNUSED)
def test_a_process_loads_nothing_large_that_it_may_never_use(programs, unused):
    """Several programs are loaded in one process, which then has loaded everything that each of them loads."""
    code = f"import sys, {', '.join(programs)}; print(*({set(unused)} & sys.modules.keys()))"
    environ = {**os.environ, "RELAY_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert {name: unused[name] for name in done.stdout.split()} == {}
