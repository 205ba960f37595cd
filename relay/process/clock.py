"""The clock that deadlines and leases of a process are counted on."""

from __future__ import annotations

import time
from typing import Final

# Runs while the machine sleeps, as the server's leases do. macOS has no such id; its monotonic clock does that.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time_s() -> float:
    """Return seconds since the machine was started, sleep included."""
    return time.clock_gettime(_CLOCK)
