"""The clock by which a process measures deadlines and leases."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

# This clock runs while the machine sleeps, as the server's leases do. macOS lacks it, but its monotonic clock does so.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

#: Returns the seconds since the machine was started, including sleep.
boot_time_s: Final = partial(time.clock_gettime, _CLOCK)
