"""Finds the external programs that some tests need; without one a test is skipped with a reason, or fails under CI."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def require_node() -> str:
    """Return the path of Node.js."""
    return _require("node", "Node.js (node)")


def require_curl() -> str:
    """Return the path of curl, which the README's tour uses."""
    return _require("curl", "curl")


def require_rabbitmq() -> str:
    """Return the path of RabbitMQ's server, also from folders that only root has on the PATH."""
    return _require("rabbitmq-server", "RabbitMQ (rabbitmq-server)", also="/usr/sbin:/usr/lib/rabbitmq/bin")


def require_typescript() -> str:
    """Return the path of the TypeScript compiler: on the PATH, or where `npm install` puts it in clients/javascript."""
    modules = Path(__file__).parents[1] / "clients" / "javascript" / "node_modules"
    return _require("tsc", "TypeScript (tsc)", also=str(modules / ".bin"))


def require_promtool() -> str:
    """Return the path of Prometheus' promtool."""
    return _require("promtool", "promtool (Debian's package prometheus)")


def require_nft() -> str:
    """Return the path of nft, which checks the kernel's filter rules, also from folders that only root has on the PATH."""
    return _require("nft", "nft (Debian's package nftables)", also="/usr/sbin:/sbin")


def require_ip() -> str:
    """Return the path of ip, which makes network namespaces, also from folders that only root has on the PATH."""
    return _require("ip", "ip (Debian's package iproute2)", also="/usr/sbin:/sbin")


def require_chromium() -> str:
    """Return the path of Chromium, or of a browser built on it."""
    return chromium_path() or _missing("Chromium")


def chromium_path() -> str | None:
    """Return the path of Chromium or a browser built on it; None if neither is installed."""
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
