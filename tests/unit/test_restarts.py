"""The supervisor records which processes it had to restart, for the doctor."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from relay.up.child import MARK, Child, adopt_orphans, end_leftovers
from relay.up.datadir import DataDir
from relay.up.restarts import RestartLog, read_restarts
from relay.up.supervisor import Supervisor
from tests.timing import START_S, wait_until


@pytest.fixture
def directory(tmp_path):
    return DataDir.make(tmp_path)


def test_deaths_are_counted_and_how_the_last_one_came_is_kept(directory):
    log = RestartLog(directory)
    assert read_restarts(directory.path) == []
    before_s = time.time()
    for name, status in (("api", 1), ("worker_bulk", 71), ("api", -9), ("flower", 0), ("x", None), ("y", -99)):
        log.note(name, status)
    found = {each.name: (each.count, each.last_end) for each in read_restarts(directory.path)}
    words = {"worker_bulk": "exit status 71", "flower": "exit status 0", "x": "unknown", "y": "signal 99"}
    assert found == {"api": (2, "SIGKILL"), **{name: (1, end) for name, end in words.items()}}
    assert all(before_s <= each.last_at_s <= time.time() for each in read_restarts(directory.path))
    RestartLog(directory)
    assert read_restarts(directory.path) == [], "a new start begins anew"


@pytest.mark.parametrize("text", [None, "", "{", "[1]", '[{"name": "api"}]'])
def test_a_file_that_is_missing_or_broken_says_nothing(directory, text):
    if text is not None:
        directory.write("restarts.json", text)
    assert read_restarts(directory.path) is None


def test_what_happens_while_the_disk_is_full_stops_nothing_and_is_written_once_there_is_space(directory, monkeypatch):
    RestartLog(directory).note("flower", 1)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(DataDir, "write", full)
        log = RestartLog(directory)
        log.note("api", 1)
        log.save()
    log.save()
    assert [each.name for each in read_restarts(directory.path)] == ["api"]
    (directory.path / "restarts.json").unlink()
    log.save()
    assert read_restarts(directory.path) is None, "it is written once"


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


# -- the supervisor


def sleeper(directory, name, program="import time; time.sleep(600)"):
    command = [sys.executable, "-c", program]
    return Child(name, command, environ={}, directory=directory.path, log=directory.log(name))


def iterated(supervisor, until):
    until_s = time.monotonic() + START_S
    while not until() and time.monotonic() < until_s:
        supervisor.iterate(0.02)
    assert until()


def killed(supervisor, child):
    """Kill a child, and wait until the supervisor has noticed and has started it again."""
    before = child.pid
    os.kill(before, signal.SIGKILL)
    iterated(supervisor, lambda: child.pid != before and child.is_running())


def test_a_child_that_dies_again_and_again_is_failing_until_it_has_lived_for_a_while(directory):
    told = []
    child, other = sleeper(directory, "api"), sleeper(directory, "flower")
    with Supervisor(told.append, 5.0) as supervisor:
        supervisor.start(child)
        supervisor.start(other)
        for deaths in (1, 2, 3):
            assert supervisor.failing(deaths) == []
            killed(supervisor, child)
            assert supervisor.failing(deaths) == supervisor.down() == [child]
        child.started_s -= 5  # as if it had lived for so long
        killed(supervisor, child)
        assert supervisor.failing(1) == supervisor.down() == []
        killed(supervisor, child)
        assert (supervisor.failing(1), supervisor.failing(2)) == ([child], []), "it begins anew"
    assert told == ["api ended unexpectedly; starting it again (log: api.log)"] * 5


def test_each_death_soon_after_a_start_doubles_the_pause_before_the_next_one(directory):
    child = sleeper(directory, "api", "raise SystemExit(1)")
    starts = []
    with Supervisor(lambda _: None, 5.0) as supervisor:
        supervisor.start(child)
        starts.append(child.started_s)
        for _ in range(2):
            iterated(supervisor, lambda: child.started_s != starts[-1])
            starts.append(child.started_s)
    assert starts[1] - starts[0] >= 0.2
    assert starts[2] - starts[1] >= 0.4


#: Says that it is up, and ends a moment after it is asked to.
SLOW = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), sys.exit()))
print("up", flush=True)
time.sleep(600)
"""


def is_up(child):
    return child.log.exists() and b"up" in child.log.read_bytes()


def test_what_others_use_ends_after_them(directory):
    store, user = sleeper(directory, "store", SLOW), sleeper(directory, "user", SLOW)
    seen = []
    with Supervisor(lambda _: None, START_S) as supervisor:
        supervisor.start(store, ends_last=True)
        supervisor.start(user)
        iterated(supervisor, lambda: is_up(store) and is_up(user))
        ask = store.ask_to_stop
        store.ask_to_stop = lambda: (seen.append(user.is_running()), ask())
    assert (seen, store.status, user.status) == ([False], 0, 0)


#: Never ends by itself; asked to, it sends so many signals to the process that started it.
DEAF = """
import os, signal, sys, time
def asked(*_):
    for number in range(int(sys.argv[1])):
        # two kinds: of one kind that comes twice before it is handled, the second is lost
        os.kill(os.getppid(), (signal.SIGINT, signal.SIGHUP)[number])
        time.sleep(0.1)
signal.signal(signal.SIGTERM, asked)
print("up", flush=True)
while True:
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("before", "during", "at_once"),
    [(0, 0, False), (1, 0, False), (0, 1, False), (2, 0, False), (1, 1, True), (0, 2, True), (2, 1, True)],
)
def test_a_child_that_does_not_end_is_waited_for_until_a_second_signal_comes(directory, before, during, at_once):
    command = [sys.executable, "-c", DEAF, str(during)]
    deaf = Child("deaf", command, environ={}, directory=directory.path, log=directory.log("deaf"))
    with Supervisor(lambda _: None, START_S if at_once else 0.6) as supervisor:
        supervisor.start(deaf)
        iterated(supervisor, lambda: is_up(deaf))
        for number in range(before):
            os.kill(os.getpid(), (signal.SIGTERM, signal.SIGHUP)[number])
        assert supervisor.ending is (before > 0)
        began_s = time.monotonic()
    took_s = time.monotonic() - began_s
    assert (deaf.is_gone(), deaf.status) == (True, -9)
    assert took_s < START_S / 2 if at_once else took_s >= 0.6


#: Tells what it was started with, and on which stream.
TELLING = """
import json, os, sys
told = [sys.stdin.read(), os.getcwd(), os.environ.get("GIVEN"), "HOME" in os.environ, os.getsid(0) == os.getpid()]
print(json.dumps(told), flush=True)
print("an error", file=sys.stderr)
"""


def test_a_child_has_its_log_for_all_that_it_says_and_nothing_of_ours_but_what_it_is_given(directory):
    command = [sys.executable, "-c", TELLING]
    child = Child("api", command, environ={"GIVEN": "x"}, directory=directory.path, log=directory.log("api"))
    assert (child.pid, child.status, child.is_running(), child.is_gone()) == (None, None, False, True)
    child.start()
    wait_until(lambda: not child.is_running())
    told, error = child.log.read_text().splitlines()
    assert json.loads(told) == ["", str(directory.path), "x", False, True]
    assert (error, child.status) == ("an error", 0)


@pytest.mark.parametrize(("program", "wait_s", "status"), [(SLOW, START_S, 0), (DEAF, 0.1, -signal.SIGKILL)])
def test_a_child_that_is_stopped_is_given_its_time_and_killed_only_after_it(directory, program, wait_s, status):
    command = [sys.executable, "-c", program, "0"]
    child = Child("server", command, environ={}, directory=directory.path, log=directory.log("server"))
    child.stop(wait_s)  # it does not run yet
    child.start()
    wait_until(lambda: is_up(child))
    child.stop(wait_s)
    wait_until(child.is_gone)
    assert child.status == status
    child.stop(wait_s)
    assert child.status == status


#: Starts a process of its own, and says which.
LEAVING = """
import subprocess, sys, time
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(left.pid, flush=True)
time.sleep(600)
"""


def has_ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z"
    except OSError:
        return True


def test_a_log_that_cannot_be_put_aside_keeps_no_process_from_being_watched(directory, monkeypatch):
    def full(_path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("relay.up.child.put_aside", full)
    child = sleeper(directory, "api")
    with Supervisor(lambda _: None, 5.0) as supervisor:
        supervisor.start(child)
        killed(supervisor, child)


@pytest.mark.parametrize(
    "fault",
    [OSError(11, "Resource temporarily unavailable"), subprocess.SubprocessError("Exception occurred")],
    ids=str,
)
def test_a_child_that_cannot_be_started_again_is_tried_later_and_the_others_go_on(directory, monkeypatch, fault):
    def refused(*_, **__):
        raise fault

    said, dead, other = [], sleeper(directory, "flower"), sleeper(directory, "api")
    monkeypatch.setattr("relay.up.supervisor._MAX_DELAY_S", 0.3)
    with Supervisor(said.append, 5.0) as supervisor:
        for child in (dead, other):
            supervisor.start(child)
        os.kill(dead.pid, signal.SIGKILL)
        with monkeypatch.context() as patch:
            patch.setattr("relay.up.child.subprocess.Popen", refused)
            iterated(supervisor, lambda: len(said) >= 3)
            assert (supervisor.down(), other.is_running()) == ([dead], True)
        iterated(supervisor, dead.is_running)
    assert said[1] == said[2] == f"flower cannot be started: {fault}; trying again in 0 s"


def test_a_child_is_started_again_though_its_logs_folder_was_removed(directory):
    child = sleeper(directory, "api")
    with Supervisor(lambda _: None, 5.0) as supervisor:
        supervisor.start(child)
        shutil.rmtree(directory.logs)
        killed(supervisor, child)
    assert directory.logs.stat().st_mode & 0o777 == 0o700


def test_after_a_supervisor_a_signal_ends_the_process_again():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    with Supervisor(lambda _: None, 5.0):
        assert signal.SIG_DFL not in map(signal.getsignal, numbers)
        woken = signal.set_wakeup_fd(-1)
        assert signal.set_wakeup_fd(woken) == -1
        assert woken >= 0
    assert {signal.getsignal(number) for number in numbers} == {signal.SIG_DFL}
    assert signal.set_wakeup_fd(-1) == -1


def test_a_hangup_that_nohup_has_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Supervisor(lambda _: None, 5.0) as supervisor:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not supervisor.ending
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.skipif(sys.platform != "linux", reason="only there are orphans adopted")
def test_a_child_is_gone_once_all_that_it_has_left_running_has_ended(directory, monkeypatch):
    adopt_orphans()
    kill, sent = os.killpg, []
    monkeypatch.setattr(os, "killpg", lambda group, number: (sent.append(number), kill(group, number))[1])
    child = sleeper(directory, "api", LEAVING)
    child.start()
    wait_until(lambda: child.log.read_bytes().endswith(b"\n"))
    left = int(child.log.read_text())
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: not child.is_running())
    assert (child.is_gone(), has_ended(left)) == (False, False)
    assert sent == [0], "to look ends nothing"
    child.kill()
    assert sent == [0, 0, signal.SIGKILL]
    wait_until(child.is_gone)
    assert has_ended(left)


def test_a_process_that_has_a_dead_child_s_number_by_now_is_left_alone(directory):
    child, other = sleeper(directory, "api", "raise SystemExit"), sleeper(directory, "flower")
    child.start()
    wait_until(lambda: not child.is_running())
    other.start()
    child._process.pid = other.pid  # as the kernel gives numbers out again
    child.kill()
    child.stop(1.0)
    assert child.is_gone(), "it can be started again"
    time.sleep(0.2)
    assert other.is_running()
    other.kill()


def test_a_child_is_started_again_when_it_is_gone_and_not_before(directory, monkeypatch):
    clock_s, is_gone, seen = [1_000.0], [False], []
    monkeypatch.setattr("relay.up.supervisor.time", SimpleNamespace(monotonic=lambda: clock_s[0]))
    child = sleeper(directory, "api")
    child.is_gone = lambda: is_gone[0]
    kill, child.kill = child.kill, lambda: (seen.append("killed"), kill())
    with Supervisor(lambda _: None, 5.0) as supervisor:
        supervisor.start(child)
        first = child.pid
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not child.is_running())
        supervisor.iterate()
        clock_s[0] += 60  # far longer than the pause before its start
        supervisor.iterate(0)
        seen.append(child.pid == first)
        is_gone[0] = True
        supervisor.iterate(0)
        seen.append(child.pid == first)
    assert seen == ["killed", True, False, "killed"]


@pytest.mark.skipif(sys.platform != "linux", reason="only there does a process hear that its parent has died")
def test_a_child_ends_with_the_process_that_started_it_however_that_ends(directory):
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from relay.up.child import Child\n"
        "command = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "child = Child('api', command, environ={}, directory=Path(sys.argv[1]), log=Path(sys.argv[1], 'log'))\n"
        "child.start()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(directory.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        assert not has_ended(child)
        parent.kill()
    wait_until(lambda: has_ended(child))


@pytest.mark.skipif(sys.platform != "linux", reason="leftovers are found in /proc")
@pytest.mark.parametrize("ends_by", [signal.SIGTERM, signal.SIGKILL])
def test_what_an_earlier_start_left_running_is_ended_by_force_if_it_does_not_end_by_itself(
    tmp_path, monkeypatch, ends_by
):
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " if ends_by is signal.SIGKILL else ""
    command = [sys.executable, "-c", f"import signal, time; {ignore}print(flush=True); time.sleep(600)"]
    monkeypatch.setattr("relay.up.child._LEFTOVERS_S", START_S if ends_by is signal.SIGTERM else 0.1)
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        left, other = (
            stack.enter_context(subprocess.Popen(command, env={**os.environ, MARK: str(tmp_path / name)}, stdout=pipe))
            for name in ("data", "data-of-another")
        )
        stack.callback(other.kill)
        stack.callback(left.kill)
        left.stdout.readline(), other.stdout.readline()
        end_leftovers(tmp_path / "data")
        assert (left.wait(START_S), other.poll()) == (-ends_by, None)
