"""The supervisor records which processes it had to restart, for the doctor."""

import sys
import time

import pytest

from relay.up.child import Child
from relay.up.datadir import DataDir
from relay.up.restarts import RestartLog, read_restarts
from relay.up.supervisor import Supervisor


@pytest.fixture
def directory(tmp_path):
    return DataDir.make(tmp_path)


def test_deaths_are_counted_and_how_the_last_one_came_is_kept(directory):
    log = RestartLog(directory)
    assert read_restarts(directory.path) == []
    for name, status in (("api", 1), ("worker_bulk", 71), ("api", -9)):
        log.note(name, status)
    found = {each.name: (each.count, each.last_end) for each in read_restarts(directory.path)}
    assert found == {"api": (2, "SIGKILL"), "worker_bulk": (1, "exit status 71")}
    RestartLog(directory)
    assert read_restarts(directory.path) == [], "a new start begins anew"


@pytest.mark.parametrize("text", [None, "", "{", "[1]", '[{"name": "api"}]'])
def test_a_file_that_is_missing_or_broken_says_nothing(directory, text):
    if text is not None:
        directory.write("restarts.json", text)
    assert read_restarts(directory.path) is None


def test_a_disk_that_is_full_does_not_keep_the_supervisor_from_going_on(directory, monkeypatch):
    log = RestartLog(directory)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DataDir, "write", full)
    log.note("api", 1)


def test_the_supervisor_notes_a_child_that_ended_by_itself_with_its_status(directory):
    noted = []
    command = [sys.executable, "-c", "raise SystemExit(71)"]
    child = Child("worker_bulk", command, environ={}, directory=directory.path, log=directory.log("worker_bulk"))
    with Supervisor(lambda _: None, 5.0, lambda *death: noted.append(death)) as supervisor:
        supervisor.start(child)
        until_s = time.monotonic() + 20
        while len(noted) < 2 and time.monotonic() < until_s:
            supervisor.iterate(0.05)
    assert noted[:2] == [("worker_bulk", 71)] * 2
