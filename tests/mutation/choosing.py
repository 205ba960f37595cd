"""Chooses the tests that may notice a fault: those that execute its line in their own process."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from functools import cache
from typing import TYPE_CHECKING, Final

from tests.mutation import FOLDER, LUA, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.mutation.areas import Fault

#: The tests of JavaScript, of which it is not known which lines they execute.
_OF_JAVASCRIPT: Final = {
    "api/static/webhooks.js": ("tests/unit/test_javascript_*.py", "tests/e2e/test_javascript_client.py"),
    "api/static/console/": ("tests/unit/test_javascript_time.py", "tests/e2e/test_console*.py"),
}
_OF_JAVASCRIPT_S: Final = 60  # a file of them
#: How many seconds of single tests, and then of whole files, are run for one fault, at most.
MOST_S, MOST_OF_FILES_S = 20, 60
_REQUIRED: Final = re.compile(r"require\('(\w+)'\)")


class Executed:
    """The tests and what they execute, as `tests.mutation.executed` has written it down."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for file in FOLDER.glob("executed-*.json"):
            written = json.loads(file.read_text())
            self._seconds |= written["tests"]
            for path, lines in written["lines"].items():
                for line, tests in lines.items():
                    self._lines[path][int(line)].update(tests)
        self._seconds_of_files: Counter[str] = Counter()
        for test, seconds in self._seconds.items():
            self._seconds_of_files[_file_of(test)] += seconds

    def choose(self, fault: Fault) -> Iterator[tuple[list[str], float]]:
        """Yield what to run until the fault is noticed: tests, or files of tests, and their usual duration in seconds.

        First come the quickest tests that execute the line, then all tests of their files.
        """
        if fault.path.endswith(".js"):
            patterns = next(found for prefix, found in _OF_JAVASCRIPT.items() if fault.path.startswith(prefix))
            files = [str(path.relative_to(ROOT)) for pattern in patterns for path in sorted(ROOT.glob(pattern))]
            yield files, _OF_JAVASCRIPT_S * len(files)
            return
        if fault.path.endswith(".lua"):
            tests = set().union(*(self._lines[script][0] for script in _scripts_with(fault.path)))
        else:
            lines = self._lines[fault.path]
            tests = lines[fault.line] or set().union(*lines.values())  # a line that runs while the module is imported
        if tests:
            yield self._quickest(tests)
            files = sorted({_file_of(test) for test in tests}, key=lambda file: (self._seconds_of_files[file], file))
            yield _first(((file, self._seconds_of_files[file]) for file in files), MOST_OF_FILES_S)

    def _quickest(self, tests: set[str]) -> tuple[list[str], float]:
        """Return the quickest test of each file, then the second of each, and so on."""
        turns, turn_of = Counter(), {}
        for test in sorted(tests, key=lambda test: (self._seconds[test], test)):
            turns[_file_of(test)] += 1
            turn_of[test] = turns[_file_of(test)]
        order = sorted(tests, key=lambda test: (turn_of[test], self._seconds[test], test))
        return _first(((test, self._seconds[test]) for test in order), MOST_S)


def _file_of(test: str) -> str:
    return test.partition("::")[0]


def _first(tests: Iterable[tuple[str, float]], most_s: float) -> tuple[list[str], float]:
    """Return as many tests as take ``most_s`` seconds, and how many seconds they take."""
    chosen, taken_s = [], 0.0
    for test, seconds in tests:
        if taken_s + seconds <= most_s:
            chosen.append(test)
            taken_s += seconds
    return chosen, taken_s


@cache
def _scripts_with(path: str) -> set[str]:
    """Return the paths of the scripts of which a file of Lua is a part."""
    files = {str(file.relative_to(ROOT)): file.read_text() for file in LUA.rglob("*.lua")}
    names = {each: each.rpartition("/")[2].removesuffix(".lua") for each in files}
    found, new = set(), {path}
    while new:
        found |= new
        required = {names[each] for each in new}
        new = {each for each, text in files.items() if required & set(_REQUIRED.findall(text))} - found
    return found
