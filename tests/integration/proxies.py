"""Runs an API behind one of the proxies of deploy/proxy."""

from __future__ import annotations

import copy
import os
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from bench.ports import free_port
from tests.forked_processes import ROOT
from tests.timing import wait_until
from tests.tools import require

FOLDER = ROOT / "deploy" / "proxy"
PROXIES = ("nginx", "haproxy")


def _command(name, directory):
    if name == "haproxy":
        return [require("haproxy"), "-db", "-f", str(directory / "haproxy.cfg")]
    user = "user root;" if os.geteuid() == 0 else ""  # who may use the test's directory
    return [require("nginx"), "-c", str(directory / "nginx.conf"), "-g", f"daemon off; {user}"]


def _configured(name, directory, api_port, port):
    """Copy the configuration, with the ports and the directory of a test."""
    file = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[name]
    text = (FOLDER / file).read_text()
    for old, new in (("127.0.0.1:8000", f"127.0.0.1:{api_port}"), ("8080", str(port)), ("/tmp/", f"{directory}/")):
        assert old in text or old == "/tmp/"
        text = text.replace(old, new)
    (directory / file).write_text(text)


def _takes(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def behind(name, api):
    """Start a proxy before a running API; yield the API's harness with the proxy's address."""
    with tempfile.TemporaryDirectory(prefix="rly") as created:
        directory, port = Path(created), free_port()
        _configured(name, directory, api.port, port)
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(_command(name, directory), stdout=log, stderr=log)
        try:
            wait_until(lambda: _takes(port), otherwise=(directory / "log").read_text)
            proxied = copy.copy(api)
            proxied.port, proxied.url = port, f"http://127.0.0.1:{port}"
            yield proxied
        finally:
            process.terminate()
            process.wait(30)
