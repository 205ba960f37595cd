"""How far tests that could go on for ever go: enough to bite in every run, and several times as far in ``make test-deep``."""

from __future__ import annotations

import os
from typing import Final

#: Whether this is a run that may take its time.
DEEP: Final = os.environ.get("DEPTH") == "deep"
_TIMES: Final = 5


def examples(count: int) -> int:
    """So many random examples; several times as many where there is time."""
    return count * _TIMES if DEEP else count
