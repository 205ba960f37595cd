"""The comparisons of `bench.isolation`: each runs one round on a fresh stage and returns its measurements."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.calls import summary_of
from bench.children import BenchError
from bench.neighbours import ASYNC, QUICK, SLOW, Neighbours, neighbours, p99
from relay.store.replays.jobs import ReplayState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PATIENCE_S: Final = 120.0
#: The rate of the replay beside which awaited calls are measured.
REPLAYS_PER_S: Final = 250.0
AWAITED: Final = {"prefer": "wait=30"}
#: The load of the quick webhook beside a slow endpoint, and how many times as much the slow one gets.
NEIGHBOUR_PER_S: Final = 5.0
TIMES: Final = 100
#: How long the slow load runs before the quick webhook is measured.
SETTLED_S: Final = 5.0
LAST_ENDS_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Pair:
    """The two measurements of one round, in ``unit``."""

    calm: float
    disturbed: float
    unit: str

    @property
    def ratio(self) -> float:
        """Disturbed divided by calm."""
        return self.disturbed / self.calm

    @property
    def line(self) -> str:
        """The round as a line of text."""
        return f"{self.calm:,.1f} -> {self.disturbed:,.1f} {self.unit} ({self.ratio:.2f})"


def cap_busy(folder: Path, quick: bool) -> Pair:
    """Compare a cap's places with how many of them were busy, on average, while calls waited."""
    return _busy(folder, places=8, delay_s=0.05, calls=400 if quick else 1_600)


def cap_of_one_busy(folder: Path, quick: bool) -> Pair:
    """Do the same for a cap of one place."""
    return _busy(folder, places=1, delay_s=0.1, calls=30 if quick else 100)


def _busy(folder: Path, *, places: int, delay_s: float, calls: int) -> Pair:
    with neighbours(folder, delay_s, concurrency=places) as at:
        at.queue(calls, (SLOW,))
        at.start_worker("bulk")
        at.wait("the last result", lambda: at.ended() >= calls, PATIENCE_S)
        found = at.slow.receipts()
    if found.distinct != calls or found.doubled or found.most_open > places:
        raise BenchError(f"{found.distinct} calls of {calls} came, {found.doubled} doubled, {found.most_open} at once")
    assert found.first_s is not None
    assert found.answered_s is not None
    return Pair(places, found.open_s / (found.answered_s - found.first_s), "places")


def beside_parked(folder: Path, quick: bool) -> Pair:
    """Compare a quick webhook's rate alone, and while 10,000 calls of another are parked at its cap."""
    calls = 5_000 if quick else 30_000
    with neighbours(folder, 30, concurrency=4) as at:
        calm = _drain(at, calls)
        at.queue(10_000, (SLOW,))
        at.start_worker("bulk")
        at.wait("all parked", lambda: at.parked(SLOW) >= 10_000 - 4, PATIENCE_S)
        at.stop_worker("bulk")
        disturbed = _drain(at, calls)
    return Pair(calm, disturbed, "calls/s")


def beside_parking(folder: Path, quick: bool) -> Pair:
    """Compare a quick webhook's rate alone, and behind 10,000 calls of a capped webhook that were queued before."""
    calls = 5_000 if quick else 30_000
    with neighbours(folder, 30, concurrency=4) as at:
        calm = _drain(at, calls)
        at.queue(10_000, (SLOW,))
        disturbed = _drain(at, calls)
    return Pair(calm, disturbed, "calls/s")


def _drain(at: Neighbours, calls: int) -> float:
    """Queue calls, then start a worker; return the rate from the first receipt anywhere to the last result."""
    at.queue(calls, (QUICK,))
    at.quick.reset()
    at.slow.reset()
    before = at.ended()
    at.start_worker("bulk")
    ended_s = at.wait("the last result", lambda: at.ended() - before >= calls, PATIENCE_S)
    firsts = [found.first_s for found in (at.quick.receipts(), at.slow.receipts()) if found.first_s is not None]
    at.stop_worker("bulk")
    return calls / (ended_s - min(firsts))


def beside_pending(folder: Path, quick: bool) -> Pair:
    """Compare the p99 of awaited calls alone, and with 100,000 bulk calls that wait for a worker."""
    return _awaited(folder, quick, drained=False)


def beside_draining(folder: Path, quick: bool) -> Pair:
    """Compare the p99 of awaited calls alone, and while a worker drains 100,000 bulk calls."""
    return _awaited(folder, quick, drained=True)


def _awaited(folder: Path, quick: bool, *, drained: bool) -> Pair:
    pending, window_s = (10_000, 3.0) if quick else (100_000, 8.0)
    with neighbours(folder, 0) as at:
        at.start_worker("interactive")
        calm = _paced_p99(at, window_s, per_s=20)
        at.queue(pending, (SLOW,))
        if drained:
            at.start_worker("bulk")
        disturbed = _paced_p99(at, window_s, per_s=20)
    return Pair(calm, disturbed, "ms")


def beside_replaying(folder: Path, quick: bool) -> Pair:
    """Compare the p99 of awaited calls alone, and while 100,000 calls are replayed at a rate."""
    originals, window_s = (2_000, 4.0) if quick else (100_000, 30.0)
    with neighbours(folder, 0) as at:
        at.queue(originals, (SLOW,))
        at.start_worker("bulk")
        at.wait("the last result", lambda: at.ended() >= originals, PATIENCE_S)
        at.start_worker("interactive")
        calm = _paced_p99(at, window_s, per_s=50)
        job = at.replay(SLOW, originals, REPLAYS_PER_S)
        at.wait("the first replay", lambda: job()["delivered"] > 0, PATIENCE_S)
        disturbed = _paced_p99(at, window_s, per_s=50)
        if job()["state"] == ReplayState.DONE:
            raise BenchError("The replay ended before its neighbour was measured.")
    return Pair(calm, disturbed, "ms")


def beside_slow_async(folder: Path, quick: bool) -> Pair:
    """Compare the p99, accept to end, of a quick webhook's calls alone and beside many slow ones in its lane."""
    window_s = 5.0 if quick else 20.0
    with neighbours(folder, 30) as at:
        at.start_worker("bulk")
        calm = _finished_p99(at, window_s)
        with _flood(at, ASYNC, window_s):
            beside = _finished_p99(at, window_s)
    return Pair(calm, beside, "ms")


def beside_slow_awaited(folder: Path, quick: bool) -> Pair:
    """Compare the p99 of a quick webhook's awaited calls alone, and beside many slow awaited ones."""
    window_s = 5.0 if quick else 20.0
    with neighbours(folder, 30) as at:
        at.start_worker("interactive")
        calm = _paced_p99(at, window_s, per_s=NEIGHBOUR_PER_S)
        with _flood(at, AWAITED, window_s):
            beside = _paced_p99(at, window_s, per_s=NEIGHBOUR_PER_S)
    return Pair(calm, beside, "ms")


@contextmanager
def _flood(at: Neighbours, headers: Mapping[str, str], window_s: float) -> Iterator[None]:
    """Start the slow webhook's load, and wait until it is steady."""
    rate_per_s, for_s = NEIGHBOUR_PER_S * TIMES, window_s + 3 * SETTLED_S
    flood = at.bring(SLOW, headers, rate_per_s=rate_per_s, callers=1_000, warmup_s=0, window_s=for_s, linger_s=0)
    try:
        time.sleep(SETTLED_S)
        yield
        if flood.poll():
            raise BenchError("The flood's callers failed.")
    finally:
        flood.kill()
        flood.communicate()


def _finished_p99(at: Neighbours, window_s: float) -> float:
    """Return the p99, from accept to end, of calls that are sent at a rate and not awaited."""
    began_ms = at.now_ms()
    summary_of(at.bring(QUICK, ASYNC, rate_per_s=NEIGHBOUR_PER_S, warmup_s=0, window_s=window_s))
    ended_ms = at.now_ms()
    time.sleep(LAST_ENDS_S)
    return p99(at.took_ms(QUICK, began_ms, ended_ms))


def _paced_p99(at: Neighbours, window_s: float, per_s: float) -> float:
    """Return the p99 of awaited calls sent at a rate; raise BenchError if one was not answered with its result."""
    found = summary_of(at.bring(QUICK, AWAITED, rate_per_s=per_s, warmup_s=1, window_s=window_s))
    if found["faults"] or found["missed"] or found["accepted"]:
        raise BenchError(f"awaited calls: {found}")
    value: float = found["p99_ms"]
    return value
