import os
import pty
from multiprocessing.connection import wait

import pytest

from tests.unit.cli import Cli
from tests.unit.command_tree import make_site
from tests.unit.forked_command import start_command


@pytest.fixture
def cli(valkey, tmp_path):
    cli = Cli(valkey.tcp_url, tmp_path)
    yield cli
    cli.close()


@pytest.fixture(scope="module")
def site(valkey_server, tmp_path_factory):
    """The relay on which the commands of `tests/unit/command_tree.py` work."""
    with valkey_server.client() as client, pytest.MonkeyPatch.context() as patch:
        patch.setattr("relay.cli.vault.SETTLED_S", 0.0)
        client.flushall()
        client.function_flush()
        yield make_site(Cli(valkey_server.tcp_url, tmp_path_factory.mktemp("site")))


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
