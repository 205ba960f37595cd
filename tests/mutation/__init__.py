"""Puts small faults into the product and counts those that tests notice (`README.md`)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
LUA: Final = ROOT / "relay" / "store" / "lua"
#: What is found out, in files.
FOLDER: Final = ROOT / "build" / "mutation"
