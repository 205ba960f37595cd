import os
import pty
import subprocess
import sys

import pytest

from tests.unit.cli import Cli
from tests.unit.command_tree import make_site


@pytest.fixture
def cli(valkey, tmp_path):
    cli = Cli(valkey.tcp_url, tmp_path)
    yield cli
    cli.close()


@pytest.fixture(scope="module")
def site(valkey_server, tmp_path_factory):
    """What the commands of `tests/unit/command_tree.py` find."""
    with valkey_server.client() as client, pytest.MonkeyPatch.context() as patch:
        patch.setattr("relay.cli.vault.SETTLED_S", 0.0)
        client.flushall()
        client.function_flush()
        yield make_site(Cli(valkey_server.tcp_url, tmp_path_factory.mktemp("site")))


@pytest.fixture
def terminal(cli):
    """Runs the command on a terminal of 80 columns, types an answer, and gives the exit status and what it showed."""

    def run(*arguments, answer="", environ=None):
        master, slave = pty.openpty()
        environ = {**os.environ, **cli.environ, "COLUMNS": "80", "TERM": "xterm-256color", **(environ or {})}
        command = [sys.executable, "-m", "relay", "--data-dir", str(cli.directory), *arguments]
        process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environ)
        os.close(slave)
        os.write(master, answer.encode())
        shown = b""
        try:
            while piece := os.read(master, 65_536):
                shown += piece
        except OSError:  # the terminal's other end is closed
            pass
        os.close(master)
        return process.wait(60), shown.decode().replace("\r\n", "\n")

    return run
