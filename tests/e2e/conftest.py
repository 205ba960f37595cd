"""A whole relay, started by its own command, and an endpoint for it to call, shared by the end-to-end tests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.ports import free_port
from relay.cli import main
from tests.e2e.endpoint import Endpoint
from tests.receivers import closed_port
from tests.scheduling import shared
from tests.timing import START_S
from tests.tools import require

STOP_S = 40
ONE_OF_EACH = ("--api", "1", "--workers", "1")  # however many processors this machine has
PLUGIN = "shop"
SECRET = "Bearer s3cr3t-of-the-endpoint"  # pre-filled: the endpoint gets it, callers never see it


@dataclass(frozen=True)
class RunningRelay:
    """A relay that was started with ``relay up``."""

    base_url: str
    flower_url: str
    data_dir: Path
    pid: int

    def cli(self, *arguments: str, text: str | None = None) -> Any:
        """Run a ``relay`` command; return what it prints with ``--output json``. ``text`` is its standard input.

        It runs in this process, because a separate one would need half a second for its imports.
        """
        command = ["--data-dir", str(self.data_dir), *arguments, "--output", "json"]
        unset = dict.fromkeys(name for name in os.environ if name.startswith("RELAY_"))
        done = CliRunner().invoke(main, command, input=text, env=unset, catch_exceptions=False)
        assert done.exit_code == 0, f"relay {arguments[:2]} ended with {done.exit_code}: {done.stderr}"
        return json.loads(done.stdout)

    def apply(self, plugin: str, webhooks: list[dict[str, Any]]) -> None:
        """Register webhooks."""
        self.cli("webhooks", "apply", "-", "--plugin", plugin, text=json.dumps(webhooks))

    def create_key(self, plugin: str, scopes: tuple[str, ...] = ("trigger",), origins: tuple[str, ...] = ()) -> str:
        """Create an API key; return its text."""
        options = [part for scope in scopes for part in ("--scope", scope)]
        options += [part for origin in origins for part in ("--origin", origin)]
        return self.cli("keys", "create", "--plugin", plugin, *options)["key"]


@dataclass(frozen=True)
class Shop:
    """A plugin with webhooks, and its key."""

    relay: RunningRelay
    endpoint: Endpoint
    key: str

    @property
    def base_url(self) -> str:
        return self.relay.base_url


def start_relay(
    data_dir: Path, *arguments: str, keeps_settings: bool = False, output: int | None = None, **settings: str
) -> tuple[subprocess.Popen[bytes], RunningRelay]:
    """Start ``relay up`` on free ports and wait until it is ready; the caller ends the process with SIGTERM.

    It may call loopback. With ``keeps_settings`` that setting is not given, but kept from the last start. ``output`` is
    a descriptor to write to instead of ``<data_dir>.out``.
    """
    port, flower_port = free_port(), free_port()
    ports = ("--port", str(port), "--flower-port", str(flower_port))
    environ = _environ(**settings) if keeps_settings else _environ(**{"RELAY_EGRESS_ALLOW": "127.0.0.1", **settings})
    with (data_dir.parent / f"{data_dir.name}.out").open("wb") as file:
        command = [relay_command(), "--data-dir", str(data_dir), "up", *ports, *ONE_OF_EACH, *arguments]
        sink = file if output is None else output
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env=environ)
    relay = RunningRelay(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{flower_port}", data_dir, process.pid)
    try:
        _await_ready(relay.base_url, process)
    except BaseException:
        stop_relay(process)
        print(_last_words(data_dir))  # pytest shows it with the failure
        raise
    return process, relay


def stop_relay(process: subprocess.Popen[bytes]) -> int:
    """Stop ``relay up`` as an operator does; return its exit status."""
    process.terminate()
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def _await_ready(base_url: str, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + START_S
    while True:
        assert process.poll() is None, f"relay up ended with {process.returncode}"
        try:
            with urllib.request.urlopen(f"{base_url}/readyz", timeout=2) as response:
                if response.status == 200:
                    return
        except OSError:
            pass
        assert time.monotonic() < deadline_s, "relay up was not ready in time"
        time.sleep(0.1)


def _last_words(data_dir: Path) -> str:
    files = [data_dir.parent / f"{data_dir.name}.out", *sorted((data_dir / "logs").glob("*.log"))]
    return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in files if path.exists())


def relay_command() -> str:
    """Return the path of this environment's ``relay`` command."""
    beside = Path(sys.executable).parent / "relay"
    return str(beside) if beside.exists() else shutil.which("relay") or "relay"


def _environ(**settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    return {**kept, **settings}


@pytest.fixture(scope="session")
def running_relay():
    """A relay that may call loopback; shared by several files."""
    return shared.enter_context(_open_relay())


@contextlib.contextmanager
def _open_relay():
    directory = Path(tempfile.mkdtemp(prefix="rly"))  # short: a socket's path has at most 107 bytes
    process, relay = start_relay(directory / "d")
    yield relay
    stop_relay(process)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def browser():
    """A Chromium shared by several files; each test opens its pages in a new profile."""
    from tests.e2e.console_browser import chromium

    return shared.enter_context(chromium(require("chromium")))


@pytest.fixture(scope="session")
def endpoint():
    """A third-party endpoint on loopback."""
    with Endpoint() as running:
        yield running


def open_shop(relay: RunningRelay, endpoint: Endpoint, plugin: str) -> Shop:
    """Register a plugin with a webhook for each way an endpoint may answer."""
    at, closed = endpoint.base_url, f"http://127.0.0.1:{closed_port()}"
    relay.apply(
        plugin,
        [
            {
                "id": "echo",
                "url": f"{at}/echo",
                "method": "POST",
                "headers": {"Authorization": SECRET, "X-Name": None},
                "queryParams": ["page"],
            },
            {"id": "get-page", "url": f"{at}/echo", "method": "GET", "queryParams": ["pageNum"]},
            {
                "id": "send-jpeg",
                "url": f"{at}/echo",
                "headers": {"Content-Type": "image/jpeg"},
                "payload_encoding": "base64",
            },
            {"id": "missing", "url": f"{at}/status/404", "method": "GET"},
            {"id": "broken", "url": f"{at}/status/500", "method": "POST"},
            {"id": "slow", "url": f"{at}/slow/2", "method": "POST"},
            {"id": "refused", "url": f"{closed}/nobody-listens", "method": "POST"},
            {
                "id": "strict",
                "url": f"{at}/echo",
                "method": "POST",
                "dataSchema": {"type": "object", "required": ["name"]},
            },
        ],
    )
    return Shop(relay, endpoint, relay.create_key(plugin))


@pytest.fixture(scope="session")
def shop(running_relay, endpoint):
    """The plugin ``shop``, shared by many tests, with the calls of all of them."""
    return open_shop(running_relay, endpoint, PLUGIN)


@pytest.fixture(scope="session")
def harness():
    """The relay of the acceptance tests, which may call only the endpoints of its harness."""
    from tests.e2e.harness import open_harness

    return shared.enter_context(open_harness())
