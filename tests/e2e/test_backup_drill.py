"""The drill of docs/backup.md: runs all its commands in order, on other ports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import start_relay, stop_relay
from tests.receivers import echo, receiver
from tests.tools import require

PAGE = (Path(__file__).parents[2] / "docs" / "backup.md").read_text(encoding="utf-8")
DRILL = PAGE.split("## A drill")[1]
BLOCKS = re.findall(r"^```sh ?(\w*)\n(.*?)^```$", DRILL, re.MULTILINE | re.DOTALL)
UP = "RELAY_EGRESS_ALLOW=127.0.0.1:9900 relay up\n"
SAYS = [
    line for text in re.findall(r"^```text\n(.*?)^```$", DRILL, re.MULTILINE | re.DOTALL) for line in text.splitlines()
]


@pytest.mark.timeout(300)
def test_the_drill_works_as_printed_and_sends_no_unrepeatable_call_twice(tmp_path):
    bash = require("bash")
    require("curl")
    assert [kind for kind, _ in BLOCKS] == ["background", "background", "", "", "disaster", "background", "", ""]
    assert [text for kind, text in BLOCKS if kind == "background"] == ["python -m relay.echo 9900\n", UP, UP]
    directory, shown = tmp_path / "w", ""
    directory.mkdir()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environ = {**{name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}, "PATH": path}

    with receiver(echo) as endpoint:

        def start():
            return start_relay(directory / ".relay", RELAY_EGRESS_ALLOW=f"127.0.0.1:{endpoint.port}")

        def run(text, address):
            here = text.replace("http://127.0.0.1:8000", address).replace(
                "127.0.0.1:9900", f"127.0.0.1:{endpoint.port}"
            )
            command = [bash, "-eu", "-c", here]  # `yes` ends by a broken pipe
            done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr
            return done.stdout

        first, going_on, disaster, restoring, finishing = (text for kind, text in BLOCKS if kind != "background")
        process, relay = start()
        try:
            shown += run(first + going_on, relay.base_url)
        finally:
            assert stop_relay(process) == 0
        before = endpoint.receipts
        assert sorted(before.values()) == [1, 1]
        run(disaster, "")
        process, relay = start()
        try:
            shown += run(restoring, relay.base_url)
            assert endpoint.receipts == before
            assert '"code":"unavailable"' in shown
            assert "refused" in shown
            assert "revoked" in shown
            shown += run(finishing, relay.base_url)
        finally:
            assert stop_relay(process) == 0
        methods = [request.method for request in endpoint.requests]
        assert sorted(methods) == ["POST", "PUT", "PUT"]
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert [line for line in SAYS if line.strip("─") and " ".join(line.split()) not in lines] == []
    assert any("interrupted" in line for line in lines)
