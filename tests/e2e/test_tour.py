"""The tour: runs all its commands in order, on other ports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.ports import free_port
from tests.e2e.conftest import start_relay, stop_relay
from tests.tools import require

TOUR = (Path(__file__).parents[2] / "docs" / "tour.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh ?(\w*)\n(.*?)^```$", TOUR, re.MULTILINE | re.DOTALL)
ECHO = "python -m relay.echo 9900\n"
UP = "RELAY_EGRESS_ALLOW=127.0.0.1:9900 relay up\n"
#: Texts that the tour tells its reader to expect.
SEEN = (
    "send-jpeg      1         created",
    "GET https://coviu.com/api/v1/randomApi?pageNum=1",
    '"X-Api-Key":"[redacted]","X-Note":"hi"',
    '"body":{"hello":"world"}},"error":false}',
    "preference-applied: respond-async",
    '{"accepted":1,"rejected":1,"results":[{"referenceId":',
    '"errors":[{"pointer":"/headers/X-Api-Key","message":"is not a header that callers of this webhook may set"}',
    '"from": "cli"',
    "answered  answered",
    "200 False {'from': 'Python'}",
    "/headers/X-Api-Key: is not a header that callers of this webhook may set",
    "append-only file",
    "RELAY_FLOWER_AUTH=relay:",
)


def blocks(kind=""):
    return [text for name, text in BLOCKS if name == kind]


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """Runs shell text as a reader of the tour would, with the tour's endpoint and relay running."""
    require("curl")
    bash = require("bash")
    assert blocks("background") == [ECHO, UP]
    directory, endpoint_port = tmp_path_factory.mktemp("tour"), free_port()
    endpoint = subprocess.Popen([sys.executable, *ECHO.split()[1:-1], str(endpoint_port)])
    process, relay = start_relay(directory / ".relay", RELAY_EGRESS_ALLOW=f"127.0.0.1:{endpoint_port}")

    def run(text, **environ):
        here = text.replace("http://127.0.0.1:8000", relay.base_url).replace(
            "127.0.0.1:9900", f"127.0.0.1:{endpoint_port}"
        )
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
        command = [bash, "-euo", "pipefail", "-c", here]
        done = subprocess.run(
            command, cwd=directory, env={**kept, "PATH": path, **environ}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        return done.stdout

    yield run
    endpoint.terminate()
    endpoint.wait()
    assert stop_relay(process) == 0


def test_every_command_of_the_tour_works_and_shows_what_it_says(tour):
    shown = tour("\n".join(blocks()))
    assert [text for text in SEEN if text not in shown] == []
    assert "a-secret-that-plugins-never-see" not in shown


def test_the_javascript_and_the_types_of_the_tour_work(tour):
    require("node")
    require("tsc")
    make_key = next(text for text in blocks() if text.startswith("KEY="))
    register = next(text for text in blocks() if "tour.txt" in text)
    (javascript,) = blocks("node")
    assert "200 false { from: 'JavaScript' }" in tour(f"{register}\n{make_key}\n{javascript}")
    (types,) = blocks("types")
    tour(f"{make_key}\n{types}")
    wrong = types.replace("page: 5", "pgae: 5")
    assert wrong != types
    assert "'pgae' does not exist" in tour(f"{make_key}\n{wrong.rstrip()} || true\n")
