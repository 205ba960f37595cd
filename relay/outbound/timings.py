"""Reads how long the parts of one exchange took, as libcurl measured them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pycurl

if TYPE_CHECKING:
    from relay.outbound.exchange import Exchange


def timings_of(exchange: Exchange) -> dict[str, float | None]:
    """Return the milliseconds of each part; None for one that was not reached or, on a kept connection, not needed."""
    info = exchange.easy.getinfo
    looked_up, connected = info(pycurl.NAMELOOKUP_TIME), info(pycurl.CONNECT_TIME)
    secured, answered = info(pycurl.APPCONNECT_TIME), info(pycurl.STARTTRANSFER_TIME)
    ready = max(connected, secured)
    return {
        "dnsMs": _between(0.0, looked_up),
        "connectMs": _between(looked_up, connected),
        "tlsMs": _between(connected, secured),
        "firstByteMs": _between(ready, answered) if exchange.header_lines else None,
        "totalMs": round(info(pycurl.TOTAL_TIME) * 1000, 1),
    }


def _between(begin_s: float, end_s: float) -> float | None:
    return round((end_s - begin_s) * 1000, 1) if end_s > begin_s else None
