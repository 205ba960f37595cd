"""The first run with the Procfile works as docs/operations.md prints it, but for its ports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from dotenv import dotenv_values

from relay.settings import child_environ
from relay.up.ports import FreePorts
from tests.timing import BUSY_S, wait_until

ROOT = Path(__file__).parents[2]
BLOCK = re.search(r"```sh procfile\n(.*?)```", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def folder(tmp_path):
    """A folder with the Procfile, on ports that are free; and these ports."""
    chosen = FreePorts()
    ports = {"8000": chosen.choose(), "5555": chosen.choose()}
    text = (ROOT / "Procfile").read_text(encoding="utf-8")
    for usual, port in ports.items():
        text = text.replace(usual, str(port))
    (tmp_path / "Procfile").write_text(text, encoding="utf-8")
    return tmp_path, ports


def test_the_first_run_with_the_procfile_is_as_printed(folder, valkey):
    directory, ports = folder
    lines = [
        line.strip().replace("redis://127.0.0.1:6379/0", valkey.tcp_url)
        for line in BLOCK[1].splitlines()
        if line.strip()
    ]
    assert [line.split()[0] for line in lines] == ["relay", "relay", "honcho"]
    programs = str(Path(sys.executable).parent)
    environ = child_environ({"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)})
    environ = {name: text for name, text in environ.items() if not name.startswith("RELAY_")}
    for line in lines[:2]:
        subprocess.run(line.split(), cwd=directory, env=environ, check=True, timeout=3 * BUSY_S)
    runner = subprocess.Popen(
        lines[2].split(), cwd=directory, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        api, flower = (f"http://127.0.0.1:{ports[usual]}" for usual in ("8000", "5555"))
        wait_until(lambda: runner.poll() is not None or answers(f"{api}/readyz"), 6 * BUSY_S, every_s=0.5)
        wait_until(lambda: runner.poll() is not None or answers(f"{flower}/healthcheck"), 6 * BUSY_S, every_s=0.5)
        assert runner.poll() is None
        wait_until(  # it is ready with one worker, and there is one for each lane
            lambda: all(requests.get(f"{api}/readyz", timeout=10).json()["lanes"].values()), every_s=0.5
        )
        auth = dotenv_values(directory / ".relay" / "relay.env")["RELAY_FLOWER_AUTH"].split(":")
        assert requests.get(f"{flower}/api/workers", timeout=10).status_code == 401
        assert requests.get(f"{flower}/api/workers", auth=tuple(auth), timeout=10).status_code == 200
    finally:
        runner.send_signal(signal.SIGTERM)
        runner.wait(3 * BUSY_S)


def answers(url):
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False
