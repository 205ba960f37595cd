"""A log that is full, closed or slow."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import orjson
import pytest

from relay.telemetry import sink as log_sink
from relay.telemetry.sink import LogSink
from tests.executor.server_faults import Unheard

LINE = b"x" * 999


def dropped_line(count):
    return b"dropped %d" % count


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    for end in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(end)


def read_all(reading):
    taken = b""
    with contextlib.suppress(BlockingIOError):
        while chunk := os.read(reading, 1 << 20):
            taken += chunk
    return taken


def test_lines_are_written_at_once_and_whole(pipe):
    sink = LogSink(pipe[1], dropped_line)
    sink.put(b"one")
    sink.put(b"two")
    assert read_all(pipe[0]) == b"one\ntwo\n"
    assert sink.dropped == 0


def test_a_full_pipe_is_not_waited_for_and_gets_the_rest_when_it_takes_it(pipe):
    sink = LogSink(pipe[1], dropped_line)
    lines = [b"%d " % number + LINE for number in range(200)]  # more than fits in a pipe, less than the log keeps
    began_s = time.monotonic()
    for line in lines:
        sink.put(line)
    assert time.monotonic() - began_s < 5
    assert sink.dropped == 0
    taken = read_all(pipe[0])
    while len(taken) < sum(len(line) + 1 for line in lines):
        sink.put(b"more")
        taken += read_all(pipe[0])
    assert taken.split(b"\n")[:200] == lines


def test_what_a_full_pipe_does_not_take_is_dropped_and_counted_and_said_when_it_takes_lines_again(pipe):
    sink = LogSink(pipe[1], dropped_line)
    for _ in range(1000):
        sink.put(LINE)
    kept = log_sink.MAX_KEPT_BYTES // (len(LINE) + 1)
    dropped = sink.dropped
    assert dropped == 1000 - kept - 65_536 // (len(LINE) + 1) or 0 < dropped < 1000
    taken = b""
    for _ in range(1000):
        taken += read_all(pipe[0])
        sink.put(b"last")
    taken += read_all(pipe[0])
    lines = taken.split(b"\n")
    assert lines.count(LINE) == 1000 - dropped
    assert lines.count(dropped_line(dropped)) == 1
    assert sink.dropped == dropped
    assert set(lines) == {LINE, dropped_line(dropped), b"last", b""}


def test_the_writes_of_others_to_the_same_pipe_still_wait(pipe):
    sink = LogSink(pipe[1], dropped_line)
    sink.put(b"one")
    assert os.get_blocking(pipe[1])


def test_a_closed_pipe_drops_and_counts(pipe):
    sink = LogSink(pipe[1], dropped_line)
    os.close(pipe[0])
    for _ in range(3):
        sink.put(LINE)
    assert sink.dropped == 3


def test_a_descriptor_that_is_closed_later_is_not_somebody_else_s(tmp_path):
    with (tmp_path / "log").open("wb") as log:
        descriptor = os.dup(log.fileno())
        sink = LogSink(descriptor, dropped_line)
        os.close(descriptor)
        with (tmp_path / "other").open("wb") as other:
            assert other.fileno() == descriptor
            sink.put(b"one")
    assert (tmp_path / "log").read_bytes() == b"one\n"
    assert (tmp_path / "other").read_bytes() == b""


def test_without_a_log_nothing_fails():
    sink = LogSink(None, dropped_line)
    sink.put(LINE)
    closed = LogSink(999, dropped_line)
    closed.put(LINE)
    assert (sink.dropped, closed.dropped) == (1, 1)


def test_a_full_disk_drops_and_counts():
    with Path("/dev/full").open("wb", buffering=0) as full:
        sink = LogSink(full.fileno(), dropped_line)
        for _ in range(3):
            sink.put(LINE)
    assert sink.dropped == 3


def test_a_socket_that_nobody_reads_is_not_waited_for():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sink = LogSink(ours.fileno(), dropped_line)
        sink.put(b"one")
        assert theirs.recv(100) == b"one\n"
        for _ in range(2000):
            sink.put(LINE)
        assert sink.dropped > 0


ERRORS = [OSError(number, "") for number in (errno.EPIPE, errno.EBADF, errno.ENOSPC, errno.EIO, errno.EAGAIN)]


@pytest.mark.parametrize("error", [*ERRORS, ValueError(), MemoryError(), Unheard()], ids=repr)
def test_no_error_of_a_sink_reaches_who_writes(error):
    sink = LogSink(None, dropped_line)
    written, failing = [], [True]

    def write(data):
        if failing[0]:
            raise error
        written.append(data)
        return len(data)

    sink._write = write
    for count, so_far in ((5, 5), (2, 7)):
        failing[0] = True
        for _ in range(count):
            sink.put(LINE)
        failing[0] = False
        sink.put(b"well")
        sink.put(b"again")
        text = b"".join(written)
        written.clear()
        if isinstance(error, BlockingIOError):
            assert (sink.dropped, text) == (0, (LINE + b"\n") * count + b"well\nagain\n")
        else:
            assert (sink.dropped, text) == (so_far, b"dropped %d\nwell\nagain\n" % count)


def test_as_much_as_ever_is_kept_after_kept_lines_were_written_in_parts():
    sink = LogSink(None, dropped_line)
    written, takes = bytearray(), [0]

    def write(data):
        if not takes[0]:
            raise BlockingIOError
        written.extend(data[: takes[0]])
        return min(takes[0], len(data))

    sink._write = write
    many = log_sink.MAX_KEPT_BYTES // (len(LINE) + 1) - 1
    for _ in range(3):
        takes[0] = 0
        for _ in range(many):
            sink.put(LINE)
        takes[0] = 600
        for _ in range(2 * many):
            sink.put(b"")
        assert bytes(written).count(LINE) == many
        written.clear()
    assert sink.dropped == 0


def test_threads_that_write_to_a_slow_pipe_tear_no_line(pipe):
    sink = LogSink(pipe[1], dropped_line)
    taken, stop = [], threading.Event()

    def read_slowly():
        while not stop.is_set():
            taken.append(read_all(pipe[0]))
            time.sleep(0.001)

    reader = threading.Thread(target=read_slowly)
    reader.start()
    writers = [threading.Thread(target=lambda: [sink.put(LINE) for _ in range(300)]) for _ in range(8)]
    for each in writers:
        each.start()
    for each in writers:
        each.join(30)
    time.sleep(0.05)
    sink.put(b"last")
    stop.set()
    reader.join(5)
    lines = (b"".join(taken) + read_all(pipe[0])).split(b"\n")
    assert {line for line in lines if not line.startswith(b"dropped")} <= {LINE, b"last", b""}
    assert lines.count(LINE) + sink.dropped >= 2400 - log_sink.MAX_KEPT_BYTES // 1000


WRITING = """
import logging, sys, time
from relay.telemetry import log
log.configure("INFO")
began_s = time.monotonic()
for number in range(5_000):
    log.event(log.Event.SWEPT, published=number, text="x" * 200)
    logging.getLogger("some.library").warning("said %s", "y" * 200)
print("z" * 100_000, file=sys.stderr)
log.event(log.Event.SWEPT, object=object())
print(time.monotonic() - began_s, log._bound.sink.dropped)
"""


@pytest.mark.parametrize("kind", ["pipe", "closed pipe", "closed", "full disk"])
def test_a_process_goes_on_whatever_its_log_is(kind, pipe):
    reading, writing = pipe
    if kind == "closed pipe":
        os.close(reading)
    command = [sys.executable, "-c", WRITING]
    if kind == "closed":
        command = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    with Path("/dev/full").open("wb") as full:
        stderr = full if kind == "full disk" else writing
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, timeout=60, check=True)
    took_s, dropped = ended.stdout.split()
    assert float(took_s) < 20
    assert int(dropped) > 0
    if kind == "pipe":
        first = read_all(reading).split(b"\n")[0]
        assert orjson.loads(first)["published"] == 0


CLOSED = """
import sys
from relay.telemetry import log
sys.stderr.close()
log.configure("info")
log.event(log.Event.SWEPT)
print(log._bound.sink.dropped)
"""


def test_a_process_goes_on_that_has_closed_its_standard_error():
    ended = subprocess.run([sys.executable, "-c", CLOSED], stdout=subprocess.PIPE, timeout=60, check=True)
    assert ended.stdout == b"1\n"
