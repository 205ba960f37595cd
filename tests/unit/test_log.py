"""Lines of the log: JSON in processes, text in commands, and never the text of an exception."""

from __future__ import annotations

import logging
import re
import subprocess
import sys

import orjson
import pytest

from relay.telemetry import log

LOGGING = """
import logging
from relay.telemetry import log
logging.basicConfig()  # as a library may have done
log.configure("{level}")
log.event(log.Event.SWEPT, published=1)
log.event(log.Event.SWEPT, level=logging.WARNING, text="one\\ntwo")
library = logging.getLogger("some.library")
library.debug("noise")
any(logging.getLogger("celery." + name).info("noise") for name in ("worker.strategy", "app.trace"))
library.info("said %s", {{"a": 1}})
try:
    raise ValueError("private")
except ValueError as error:
    log.fault(error, "here")
    library.exception("failed")
    library.error("\\udcff")  # cannot be written
log.event(log.Event.SWEPT, level=logging.ERROR, published=object)
library.error("no exception", exc_info=True)
"""
STAMP = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z"
LINES = [
    {"published": 1, "event": "swept", "level": "info"},
    {"text": "one\ntwo", "event": "swept", "level": "warning"},
    {"event": "said {'a': 1}", "level": "info", "logger": "some.library"},
    {"where": "here", "kind": "ValueError", "line": "<module>:13", "event": "internal_error", "level": "error"},
    {"event": "failed", "level": "error", "logger": "some.library", "kind": "ValueError"},
    {"event": "log_lines_dropped", "lines": 1, "level": "warning"},
    {"published": "<class 'object'>", "event": "swept", "level": "error"},
    {"event": "no exception", "level": "error", "logger": "some.library"},
]


def logged(level):
    code = LOGGING.format(level=level)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b""
    lines = [orjson.loads(line) for line in done.stderr.splitlines()]
    assert all(re.fullmatch(STAMP, line.pop("timestamp")) for line in lines)
    return lines


@pytest.mark.parametrize(("level", "least"), [("debug", 0), ("INFO", 0), ("warning", 1), ("error", 2)])
def test_a_process_logs_what_is_of_its_level_or_above_as_json(level, least):
    levels = ("info", "warning", "error")
    said = [line for line in LINES if "lines" in line or levels.index(line["level"]) >= least]
    assert logged(level) == said


FAULTS = """
import sys
from relay.errors import StoreFault
from relay.telemetry import log
log.configure("info")
def inner():
    raise KeyError("private")
def middle():
    inner()
def outer(wrapping):
    try:
        middle()
    except KeyError as error:
        raise wrapping("private") from error
for wrapping in (None, OSError, StoreFault):
    try:
        middle() if wrapping is None else outer(wrapping)
    except Exception as error:
        log.fault(error, "here")
log.fault(ValueError(), "never raised")
print(" \\n", file=sys.stderr)
print("printed: \\udc80", file=sys.stderr)
"""


def test_a_fault_names_the_innermost_line_and_its_own_type_and_that_of_the_store_its_cause():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=True)
    *lines, printed = done.stderr.splitlines()
    faults = [(line["kind"], line["line"], line["where"]) for line in map(orjson.loads, lines)]
    assert faults == [
        ("KeyError", "inner:7", "here"),
        ("OSError", "outer:14", "here"),
        ("KeyError", "inner:7", "here"),
        ("ValueError", "", "never raised"),
    ]
    assert printed == b"printed: ?"


UNWRITABLE = """
from relay.telemetry import log
class Unwritable:
    def __repr__(self):
        raise ValueError("private")
    __str__ = __repr__
log.configure("info")
for number in range(3):
    log.event(log.Event.SWEPT, published=Unwritable())
log.event(log.Event.SWEPT, published=1)
log.event(log.Event.SWEPT, published=2)
"""


def test_events_that_cannot_be_written_are_counted_and_the_others_go_on():
    done = subprocess.run([sys.executable, "-c", UNWRITABLE], capture_output=True, check=True)
    lines = [orjson.loads(line) for line in done.stderr.splitlines()]
    assert [(line["event"], line.get("lines", line.get("published"))) for line in lines] == [
        ("log_lines_dropped", 3),
        ("swept", 1),
        ("swept", 2),
    ]


def test_a_command_prints_faults_alone_each_as_a_line_of_text(capsys):
    log.configure_command()
    log.event(log.Event.SWEPT, level=logging.WARNING)
    log.event(log.Event.SWEPT, level=logging.ERROR)
    try:
        int("private")
    except ValueError as error:
        log.fault(error, "here and there")
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d \[error    \] swept", first)
    place = "test_a_command_prints_faults_alone_each_as_a_line_of_text"
    told = rf"internal_error +kind=ValueError line={place}:\d+ where='here and there'"
    assert re.fullmatch(rf"20.+ \[error    \] {told}", second)
