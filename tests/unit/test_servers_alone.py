"""Servers that run beside no `relay up`: one on its data directory for a command, and one that reads a backup's file."""

from __future__ import annotations

import os
import signal
import sys
from ctypes.util import find_library
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from relay.errors import SettingsError, Unavailable
from relay.store.health.readiness import Probe, probe
from relay.store.server.connection import client_of
from relay.up import alone, embedded
from relay.up.alone import loaded, server_alone
from relay.up.datadir import DataDir
from tests.timing import ANSWER_S


def test_the_server_of_a_data_directory_runs_for_a_command_and_keeps_what_that_wrote(tmp_path):
    for number in range(2):
        with server_alone(tmp_path / "d") as url:
            assert url.startswith("redis://admin:")
            with client_of(url, socket_timeout=ANSWER_S) as client:
                assert client.incr("count") == number + 1
            with pytest.raises(SettingsError, match="`relay up` already runs"), server_alone(tmp_path / "d"):
                pass
        assert probe(url) is Probe.AWAY


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows what a process has loaded")
@pytest.mark.parametrize("found", [find_library("jemalloc"), None])
def test_a_server_has_jemalloc_if_the_machine_has_it(tmp_path, monkeypatch, found):
    monkeypatch.setattr(embedded, "find_library", lambda name: found)
    with server_alone(tmp_path / "d") as url, client_of(url, socket_timeout=ANSWER_S) as client:
        files = Path(f"/proc/{client.info()['process_id']}/maps").read_text()
    assert ("libjemalloc" in files) == (found is not None)


def test_a_server_that_does_not_start_for_a_command_is_said_not_to_and_the_directory_is_free(tmp_path, monkeypatch):
    failing = tmp_path / "server"
    failing.write_text("#!/bin/sh\nexit 1\n")
    failing.chmod(0o700)
    monkeypatch.setattr(embedded, "find_program", lambda: str(failing))
    with pytest.raises(Unavailable, match="did not start: its log"), server_alone(tmp_path / "d"):
        pass
    DataDir.make(tmp_path / "d").lock().close()


def test_a_file_that_is_no_snapshot_is_named_with_what_the_server_said(tmp_path):
    (tmp_path / "server1.rdb").write_bytes(b"no snapshot" * 10)
    with (
        pytest.raises(Unavailable, match=r"does not load server1\.rdb: .*signature"),
        loaded(tmp_path / "server1.rdb", 0),
    ):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["server1.rdb"]


@pytest.fixture
def handlers():
    """Let SIGTERM and SIGHUP have their usual effects; they have them again after the test."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    yield lambda: [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_together_with_the_server_that_reads_its_file(tmp_path, monkeypatch, handlers, number):
    asked, stopped = [], []

    def probe_of(url):
        asked.append(url)
        os.kill(os.getpid(), number)

    stop = alone.Child.stop
    monkeypatch.setattr(alone, "probe", probe_of)
    monkeypatch.setattr(alone.Child, "stop", lambda child, wait_s: (stop(child, wait_s), stopped.append(child)))
    with pytest.raises(SystemExit) as ended, loaded(tmp_path / "server1.rdb", 0):
        pass
    assert ended.value.code == 128 + number
    assert [child.is_running() for child in stopped] == [False]
    assert not Path(urlsplit(asked[0]).path).exists()
    assert handlers() == [signal.SIG_DFL] * 2


def test_a_signal_that_is_ignored_stays_so_while_a_file_is_read_and_afterwards(tmp_path, handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with loaded(tmp_path / "server1.rdb", 20) as client:
        os.kill(os.getpid(), signal.SIGHUP)
        assert client.connection_pool.connection_kwargs["db"] == 20
        assert (client.dbsize(), client.config_get("save")["save"], client.config_get("port")["port"]) == (0, "", "0")
        assert handlers()[0] is not signal.SIG_DFL
        assert handlers()[1] is signal.SIG_IGN
    assert handlers() == [signal.SIG_DFL, signal.SIG_IGN]
    assert list(tmp_path.iterdir()) == [], "it writes nothing"
