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
    return shutil.which("node") or _missing("Node.js (node)")


def require_typescript() -> str:
    """The path of the TypeScript compiler: on the PATH, or where `npm install` puts it in the JavaScript package."""
    local = Path(__file__).parents[1] / "clients" / "javascript" / "node_modules" / ".bin" / "tsc"
    return shutil.which("tsc") or (str(local) if local.exists() else None) or _missing("TypeScript (tsc)")


def require_chromium() -> str:
    """The path of Chromium, or of a browser that is one underneath."""
    found = (shutil.which(name) for name in _CHROMIUM_NAMES)
    return next((path for path in found if path), None) or _missing("Chromium")


def _missing(what: str) -> NoReturn:
    reason = f"{what} is not on the PATH"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set: install it", pytrace=False)
    pytest.skip(reason)
