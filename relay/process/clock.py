"""The clock that deadlines and leases of a process are counted on."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

# Runs while the machine sleeps, as the server's leases do. macOS has no such id; its monotonic clock does that.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

#: Seconds since the machine was started, sleep included.
boot_time_s: Final = partial(time.clock_gettime, _CLOCK)
