"""Logs of children: private, and bounded while the child goes on writing."""

import io
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from relay.up.child import Child
from relay.up.log_file import _LOOKS, KEPT, LogTail, _copy, last_lines, open_log, put_aside
from tests.timing import START_S, wait_until

PIPED = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}

#: Writes lines until its input ends, and prints how many.
WRITER = """
import itertools, os, select, sys, time
for number in itertools.count():
    if number % 200 == 0:
        time.sleep(0.001)  # a writer that never rests is copied for as long as it writes
        if select.select([sys.stdin], [], [], 0)[0]:
            break
    os.write(2, b"%08d %s\\n" % (number, b"x" * 90))
print(number)
"""


def mode(path):
    return path.stat().st_mode & 0o777


def asides(path):
    return [each for number in range(1, KEPT + 3) if (each := path.with_name(f"{path.name}.{number}")).exists()]


def test_a_log_is_its_owner_s_alone_also_if_it_was_not_before(tmp_path):
    path = tmp_path / "api.log"
    path.write_bytes(b"before\n")
    path.chmod(0o644)
    with open_log(path) as log:
        log.write(b"after\n")
    assert path.read_bytes() == b"before\nafter\n"
    assert mode(path) == 0o600


def test_a_large_log_is_put_aside_and_no_more_are_kept_than_may_be(tmp_path):
    path = tmp_path / "api.log"
    with open_log(path) as log:
        for number in range(KEPT + 2):
            log.write(b"%d" % number * 100)
            assert put_aside(path, 100) is False
            log.write(b"!")
            assert put_aside(path, 100) is True
            assert path.stat().st_size == 0
    assert [each.read_bytes()[:1] for each in asides(path)] == [b"4", b"3", b"2"]
    assert {mode(each) for each in asides(path)} == {0o600}


@pytest.mark.parametrize(
    ("reads", "copied"),
    [
        ([b"one\n", b"", b"two\n"], b"one\n"),
        ([b"one\nha", b"", b"lf\n", b"", b"more\n"], b"one\nhalf\n"),
        ([b"half", *[b""] * _LOOKS], b"half"),
        ([b""], b""),
    ],
    ids=["a whole line", "a line that is being written", "a line that is never ended", "nothing"],
)
def test_a_log_is_copied_with_the_rest_of_a_line_that_is_being_written(monkeypatch, reads, copied):
    looks = []
    monkeypatch.setattr("relay.up.log_file.time", SimpleNamespace(sleep=looks.append))
    copy, left = io.BytesIO(), iter(reads)
    _copy(SimpleNamespace(read=lambda _: next(left)), copy)
    assert copy.getvalue() == copied
    assert len(looks) == {b"half": _LOOKS, b"one\nhalf\n": 1}.get(copied, 0), "its writer is given time"


def test_what_a_running_child_writes_goes_on_at_the_beginning_of_an_emptied_log(tmp_path):
    path = tmp_path / "api.log"
    with open_log(path) as log, subprocess.Popen([sys.executable, "-c", WRITER], **PIPED, stderr=log) as writer:
        for _ in range(3):
            wait_until(lambda: put_aside(path, 1_000_000), every_s=0.005)
        # What it wrote just before the log was emptied may be lost, so its end has to be written after that.
        wait_until(lambda: path.stat().st_size > 0, every_s=0.005)
        lines = int(writer.communicate(timeout=START_S)[0])
    assert writer.returncode == 0
    kept = [line for each in (*asides(path)[::-1], path) for line in each.read_bytes().split(b"\n") if line]
    numbers = [int(line[:8]) for line in kept]
    assert {len(line) for line in kept} == {99}  # no line is cut
    assert numbers == sorted(numbers)
    assert numbers[-1] == lines - 1
    assert max(each.stat().st_size for each in (*asides(path), path)) < 100 * lines


def test_a_log_that_is_not_there_or_cannot_be_written_ends_nobody(tmp_path):
    assert put_aside(tmp_path / "none.log") is False
    child = Child("api", ["true"], environ={}, directory=tmp_path, log=tmp_path / "nowhere" / "api.log")
    child.keep_log_small()


def test_a_tail_begins_anew_where_a_log_was_emptied(tmp_path):
    path = tmp_path / "api.log"
    with open_log(path) as log:
        log.write(b"old\n" * 50)
        tail = LogTail(tmp_path)
        put_aside(path, 10)
        log.write(b"new\n")
        assert list(tail.lines()) == [("api", "new")]


def test_a_tail_has_each_line_of_each_log_once_and_only_when_it_is_whole(tmp_path):
    for name in ("worker", "api"):
        (tmp_path / f"{name}.log").write_bytes(b"before\n")
    tail = LogTail(tmp_path)
    assert list(tail.lines()) == []
    for written, lines in (
        (b"a", []),
        (b"b\nc\n", ["ab", "c"]),
        (b"", []),
        (b"\nd\ne", ["", "d"]),
        (b"\xff\n", ["e\ufffd"]),
    ):
        for name in ("worker", "api"):
            with open_log(tmp_path / f"{name}.log") as log:
                log.write(written)
        assert list(tail.lines()) == [(name, line) for name in ("api", "worker") for line in lines]
    (tmp_path / "flower.log").write_bytes(b"new\n")
    assert list(tail.lines()) == [("flower", "new")]


def test_a_tail_goes_on_behind_a_line_that_is_too_long_to_be_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("relay.up.log_file._TAIL_BYTES", 4)
    tail = LogTail(tmp_path)
    (tmp_path / "api.log").write_bytes(b"a long one\n\nb\n")
    shown = [[line for _, line in tail.lines()] for _ in range(5)]
    assert shown == [["a lo"], ["ng o"], ["ne", ""], ["b"], []]


def test_the_last_lines_of_a_log_are_its_newest_in_their_order(tmp_path):
    path = tmp_path / "api.log"
    assert last_lines(path) == []
    path.write_text("".join(f"{number}\n" for number in range(20)))
    assert last_lines(path) == [str(number) for number in range(10, 20)]
    assert last_lines(path, 2) == ["18", "19"]
    path.write_bytes(b"only \xff")
    assert last_lines(path) == ["only \ufffd"]


@pytest.mark.parametrize("limit", [10, 1000])
def test_a_supervised_child_s_log_is_kept_small(tmp_path, monkeypatch, limit):
    monkeypatch.setattr("relay.up.child.put_aside", lambda path: put_aside(path, limit))
    child = Child(
        "api", [sys.executable, "-c", "print('x' * 2000)"], environ={}, directory=tmp_path, log=tmp_path / "api.log"
    )
    child.start()
    while child.is_running():
        time.sleep(0.01)
    child.keep_log_small()
    assert child.log.stat().st_size == 0
    assert asides(child.log)
