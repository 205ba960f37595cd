"""Programs outside Python that some tests need: skipped with a reason without them, a failure under CI."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def require_node() -> str:
    """The path of Node.js."""
    return shutil.which("node") or _missing("Node.js (node)")


def require_chromium() -> str:
    """The path of Chromium, or of a browser that is one underneath."""
    found = (shutil.which(name) for name in _CHROMIUM_NAMES)
    return next((path for path in found if path), None) or _missing("Chromium")


def _missing(what: str) -> NoReturn:
    reason = f"{what} is not on the PATH"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set: install it", pytrace=False)
    pytest.skip(reason)
