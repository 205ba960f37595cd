"""Reads how long the parts of one exchange took, as libcurl measured them, and the answer's headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pycurl

from relay.outbound.heads import Head

if TYPE_CHECKING:
    from relay.outbound.exchange import Exchange


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds for each part; None for one that was not reached or, on a kept connection, not needed."""

    dns_ms: float | None
    connect_ms: float | None
    tls_ms: float | None
    first_byte_ms: float | None  # from a usable connection to the answer's first byte
    total_ms: float
    headers: tuple[tuple[str, str], ...]  # of the answer, unmasked

    @classmethod
    def of(cls, exchange: Exchange) -> Timings:
        """Read the timings and headers of a transfer that has ended."""
        info = exchange.easy.getinfo
        looked_up, connected = info(pycurl.NAMELOOKUP_TIME), info(pycurl.CONNECT_TIME)
        answered = info(pycurl.STARTTRANSFER_TIME)
        secured = info(pycurl.APPCONNECT_TIME)
        return cls(
            dns_ms=_between(0.0, looked_up),
            connect_ms=_between(looked_up, connected),
            tls_ms=_between(connected, secured),
            first_byte_ms=_between(max(connected, secured), answered) if exchange.header_lines else None,
            total_ms=round(info(pycurl.TOTAL_TIME) * 1000, 1),
            headers=tuple(Head(exchange.header_lines).items()),
        )


def _between(begin_s: float, end_s: float) -> float | None:
    return round((end_s - begin_s) * 1000, 1) if end_s > begin_s else None
