"""Finds the programs that some tests need; without one a test is skipped with a reason, or fails under CI."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import pytest

#: What to install for each program.
_PROGRAMS: Final = {
    "bash": "Bash",
    "chromium": "Chromium",
    "curl": "curl",
    "git": "Git",
    "haproxy": "HAProxy (Debian's package haproxy, in /usr/sbin)",
    "ip": "ip (Debian's package iproute2, in /usr/sbin)",
    "nft": "nft (Debian's package nftables, in /usr/sbin)",
    "nginx": "nginx (Debian's package nginx, in /usr/sbin)",
    "node": "Node.js",
    "promtool": "promtool (Debian's package prometheus)",
    "rabbitmq-server": "RabbitMQ (rabbitmq-server, on Debian in /usr/sbin)",
    "tsc": "the TypeScript compiler (tsc)",
}
#: Other names of a program.
_OTHERS: Final = {"chromium": ("chromium-browser", "google-chrome", "google-chrome-stable")}
#: What a program on the PATH may stand for: Debian's runs the server as another user.
_BEHIND: Final = {"rabbitmq-server": Path("/usr/lib/rabbitmq/bin/rabbitmq-server")}


def require(program: str) -> str:
    """Return the path of a program, one of `_PROGRAMS`."""
    if path := find(program):
        return path
    reason = f"{_PROGRAMS[program]} is not on the PATH"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set: install it", pytrace=False)
    pytest.skip(reason)


def find(program: str) -> str | None:
    """Return the path of a program; None if it is not on the PATH."""
    found = next(filter(None, map(shutil.which, (program, *_OTHERS.get(program, ())))), None)
    behind = _BEHIND.get(program)
    return str(behind) if found and behind and behind.exists() else found
