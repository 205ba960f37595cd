"""Starts a fake EHR and a relay, registers the webhooks, and runs the plugin in Python and in JavaScript.

    python -m examples.ehr

Everything is on loopback and in a temporary directory, and is gone at the end.
"""

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
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trustme
from joserfc.jwk import ECKey

from examples.ehr.fake_ehr import fake_ehr
from relay.up.ports import FreePorts

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE: Final = Path(__file__).parent
CLIENT_ID: Final = "relay-of-the-clinic"
KEY_ID: Final = "relay-1"
START_S: Final = 120
STOP_S: Final = 40


def command(data_dir: Path, *arguments: str) -> list[str]:
    """Return a command line of this environment's relay."""
    return [sys.executable, "-m", "relay", "--data-dir", str(data_dir), *arguments]


def run(data_dir: Path, *arguments: str, text: str | None = None) -> str:
    """Run a command of the relay; return what it prints."""
    line = command(data_dir, *arguments, "--output", "json")
    return subprocess.run(line, input=text, capture_output=True, text=True, check=True).stdout


@contextlib.contextmanager
def relay(data_dir: Path, **settings: str) -> Iterator[str]:
    """Run `relay up` until the block ends; yield the address of its API."""
    ports = FreePorts()
    port, flower_port = str(ports.choose()), str(ports.choose())
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    line = command(data_dir, "up", "--port", port, "--flower-port", flower_port, "--api", "1", "--workers", "1")
    with subprocess.Popen(line, env=kept | settings, stdout=subprocess.DEVNULL) as process:
        try:
            await_ready(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(STOP_S)


def await_ready(base_url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the relay takes calls."""
    deadline_s = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline_s:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{base_url}/readyz", timeout=2):
            return
        time.sleep(0.1)
    sys.exit("The relay did not start.")


def main() -> None:
    """Run the example."""
    directory = Path(tempfile.mkdtemp(prefix="ehr"))
    key, authority = ECKey.generate_key("P-384"), trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        origin = stack.enter_context(
            fake_ehr(authority, CLIENT_ID, KEY_ID, ECKey.import_key(key.as_pem(private=False)))
        )
        allowed = {"RELAY_EGRESS_ALLOW": origin.removeprefix("https://"), "RELAY_CA_FILE": str(directory / "ca.pem")}
        data_dir = directory / "relay"
        url = stack.enter_context(relay(data_dir, **allowed))
        run(data_dir, "secrets", "set", "EHR_KEY", "--plugin", "ehr", text=key.as_pem(private=True).decode())
        webhooks = (HERE / "webhooks.txt").read_text(encoding="utf-8").replace("https://ehr.example.com", origin)
        run(data_dir, "webhooks", "apply", "-", text=webhooks)
        made = json.loads(run(data_dir, "keys", "create", "--plugin", "ehr", "--scope", "trigger"))
        environ = {**os.environ, "RELAY_URL": url, "RELAY_KEY": made["key"]}
        subprocess.run([sys.executable, str(HERE / "plugin.py")], env=environ, check=True)
        if node := shutil.which("node"):
            subprocess.run([node, str(HERE / "plugin.mjs")], env=environ, check=True)
        else:
            print("JavaScript: node is not on the PATH")


if __name__ == "__main__":
    main()
