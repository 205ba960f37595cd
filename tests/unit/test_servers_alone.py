"""Servers that run beside no `relay up`: one on its data directory for a command, and one that reads a backup's file."""

from __future__ import annotations

import pytest

from relay.errors import SettingsError, Unavailable
from relay.store.health.readiness import Probe, probe
from relay.store.server.connection import client_of
from relay.up import embedded
from relay.up.alone import loaded, server_alone
from relay.up.datadir import DataDir
from tests.timing import ANSWER_S


def test_the_server_of_a_data_directory_runs_for_a_command_and_keeps_what_that_wrote(tmp_path):
    for number in range(2):
        with server_alone(tmp_path / "d") as url:
            assert url.startswith("redis://admin:")
            with client_of(url, socket_timeout=ANSWER_S) as client:
                assert client.incr("count") == number + 1
            with pytest.raises(SettingsError, match="Another `relay up` runs"), server_alone(tmp_path / "d"):
                pass
        assert probe(url) is Probe.AWAY


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
