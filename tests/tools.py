"""Programs outside Python that some tests need: skipped with a reason without them, a failure under CI."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def require_node() -> str:
    """The path of Node.js."""
    return _require("node", "Node.js (node)")


def require_curl() -> str:
    """The path of curl, which the README's tour is written with."""
    return _require("curl", "curl")


def require_rabbitmq() -> str:
    """The path of RabbitMQ's server, which is not on the PATH of whoever is not root."""
    return _require("rabbitmq-server", "RabbitMQ (rabbitmq-server)", also="/usr/sbin:/usr/lib/rabbitmq/bin")


def require_typescript() -> str:
    """The path of the TypeScript compiler: on the PATH, or where `npm install` puts it in the JavaScript package."""
    modules = Path(__file__).parents[1] / "clients" / "javascript" / "node_modules"
    return _require("tsc", "TypeScript (tsc)", also=str(modules / ".bin"))


def require_promtool() -> str:
    """The path of Prometheus' promtool."""
    return _require("promtool", "promtool (Debian's package prometheus)")


def require_chromium() -> str:
    """The path of Chromium, or of a browser that is one underneath."""
    return chromium_path() or _missing("Chromium")


def chromium_path() -> str | None:
    """The same where there is one."""
    found = (shutil.which(name) for name in _CHROMIUM_NAMES)
    return next((path for path in found if path), None)


def _require(program: str, what: str, also: str = "") -> str:
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(program, path=f"{path}{os.pathsep}{also}" if also else path) or _missing(what)


def _missing(what: str) -> NoReturn:
    reason = f"{what} is not on the PATH"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set: install it", pytrace=False)
    pytest.skip(reason)
