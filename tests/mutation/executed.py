"""A plugin of pytest that writes down which tests execute which lines of the product: `-p tests.mutation.executed`.

Each process writes ``build/mutation/executed-<process>.json``: ``tests`` maps a test to its seconds, and ``lines`` a
file to its lines, each with the tests that execute it. A script has one line, 0, executed by each test that runs it.
Needs Python 3.12 (PEP 669).
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Final

import pytest

from relay.store.scripting.library import library
from tests.mutation import FOLDER, LUA, ROOT

#: More tests of one file are not needed to notice a fault in a line.
MOST_OF_A_FILE: Final = 20
_PRODUCT: Final = tuple(f"{ROOT / package}/" for package in ("relay", "workers", "api"))
_WATCH: Final = sys.monitoring
_TOOL: Final = 4  # of those that Python leaves to anybody

_executed: set[tuple[str, int]] = set()  # by the present test


class _Noted(dict):
    """The functions of the library, of which each that is asked for is about to be run."""

    def __getitem__(self, script):
        _executed.add((_FILES[script], 0))
        return super().__getitem__(script)


_FILES: Final = {path.stem: str(path) for path in LUA.rglob("*.lua")}
object.__setattr__(library(), "functions", _Noted(library().functions))


def _line(code, line):
    if code.co_filename.startswith(_PRODUCT):
        _executed.add((code.co_filename, line))
    return _WATCH.DISABLE  # until the next test


class Map:
    """Collects the lines of each test that passes."""

    def __init__(self) -> None:
        self.tests: dict[str, float] = {}
        self.lines: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
        self._of_files: Counter[tuple[str, int, str]] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        _executed.clear()
        _WATCH.restart_events()
        return (yield)

    def pytest_runtest_makereport(self, item, call):
        if call.when != "call" or call.excinfo is not None:
            return
        self.tests[item.nodeid] = round(call.duration, 3)
        file = item.nodeid.partition("::")[0]
        for path, line in _executed.copy():  # other threads go on
            self._of_files[path, line, file] += 1
            if self._of_files[path, line, file] <= MOST_OF_A_FILE:
                self.lines[str(Path(path).relative_to(ROOT))][line].append(item.nodeid)

    def pytest_sessionfinish(self, session):
        worker = getattr(session.config, "workerinput", {"workerid": "main"})["workerid"]
        _WATCH.set_events(_TOOL, 0)
        _WATCH.free_tool_id(_TOOL)
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / f"executed-{worker}.json").write_text(json.dumps({"tests": self.tests, "lines": self.lines}))


def pytest_configure(config):
    _WATCH.use_tool_id(_TOOL, "executed")
    _WATCH.register_callback(_TOOL, _WATCH.events.LINE, _line)
    _WATCH.set_events(_TOOL, _WATCH.events.LINE)
    os.register_at_fork(after_in_child=lambda: _WATCH.set_events(_TOOL, 0))  # a child that tests fork runs no test
    config.pluginmanager.register(Map())
