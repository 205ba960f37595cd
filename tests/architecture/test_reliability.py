"""The page on reliability names only tests that exist."""

from __future__ import annotations

import re

from .sources import ROOT

PAGE = ROOT / "docs" / "reliability.md"


def test_every_test_that_the_page_names_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        found |= set(re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert named
    assert named - found == set()
