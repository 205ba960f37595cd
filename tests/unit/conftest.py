import os
import pty
from multiprocessing.connection import wait

import pytest

from relay.telemetry import log
from tests.unit.cli import Cli
from tests.unit.command_tree import make_site
from tests.unit.forked_command import start_command


@pytest.fixture(scope="module")
def empty_server(valkey_server):
    """A real server, emptied of keys and functions: files of other folders may have loaded scripts of their own."""
    with valkey_server.client() as client:
        client.flushall()
        client.function_flush()
    return valkey_server


@pytest.fixture
def valkey(empty_server):
    """A real server, emptied of keys; it keeps the relay's scripts, because loading them takes longer than most tests."""
    with empty_server.client() as client:
        client.flushall()
    return empty_server


@pytest.fixture
def cli(valkey, tmp_path):
    cli = Cli(valkey.tcp_url, tmp_path)
    yield cli
    cli.close()


@pytest.fixture(scope="module")
def site(empty_server, tmp_path_factory):
    """The relay on which the commands of `tests/unit/command_tree.py` work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("relay.cli.vault.SETTLED_S", 0.0)
        yield make_site(Cli(empty_server.tcp_url, tmp_path_factory.mktemp("site")))


@pytest.fixture
def terminal(cli):
    """Run the command on a terminal of 80 columns and type an answer; return its exit status and what it showed."""

    def run(*arguments, answer="", environ=None):
        master, slave = pty.openpty()
        environ = {**os.environ, **cli.environ, "COLUMNS": "80", "TERM": "xterm-256color", **(environ or {})}
        process = start_command(["--data-dir", str(cli.directory), *arguments], environ, [os.ttyname(slave)] * 3)
        os.write(master, answer.encode())
        shown = b""
        while wait([process.sentinel, master]) != [process.sentinel]:
            shown += os.read(master, 65_536)
        os.close(slave)
        os.close(master)
        process.join()
        return process.exitcode, shown.decode().replace("\r\n", "\n")

    return run


@pytest.fixture
def logged(events_of):
    """The (name, fields) that are logged: nothing but what a test expects, and takes from this list."""
    found = events_of(log)
    yield found
    assert found == []


@pytest.fixture
def misleading_environ(monkeypatch, tmp_path):
    """Environment variables of a proxy that there is not, and of logins for this machine."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    logins = tmp_path / "netrc"
    logins.write_text("".join(f"machine {host} login me password secret\n" for host in ("127.0.0.1", "localhost")))
    monkeypatch.setenv("NETRC", str(logins))
