"""Turns the notes that scripts write about invocations into amounts by name. Pure.

The webhook ``-`` stands for all names that callers used but nobody has registered; there may be any number of them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

from relay.metrics.catalogue import DURATION_LIMITS_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: How many steps the histogram of a minute has per doubling of the time.
STEPS_A_DOUBLING: Final = 4
UNREGISTERED: Final = "-"
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000

#: Names a hash of counts: ``totals``, ``minute`` or ``hour``; the number of the minute or hour; the webhook, if any.
NotesHash: TypeAlias = "tuple[str, int | str, str]"
Amounts: TypeAlias = "dict[NotesHash, Counter[str]]"


def amounts_of(notes: Iterable[bytes]) -> Amounts:
    """Return the amounts that these notes add to each hash. A text that is not a note adds nothing."""
    amounts: Amounts = defaultdict(Counter)
    for note in notes:
        with suppress(ValueError):
            for place, added in _amounts_in(note).items():
                for name, amount in added:
                    amounts[place][name] += amount
    return amounts


def _amounts_in(note: bytes) -> dict[NotesHash, list[tuple[str, int]]]:
    at, webhook, count, *ends = note.decode().split(" ")
    minute, hour, accepted = int(at) // MINUTE_MS, int(at) // HOUR_MS, int(count)
    counts, times, totals = [], [], []
    if accepted:
        counts.append(("accepted", accepted))
        totals.append((f"{webhook}:accepted", accepted))
    for end in ends:
        kind, _, durations = end.partition("=")
        state, outcome, status, error, *_ = kind.split(":")
        each = [int(duration) for duration in durations.split(",")]
        counts.append((state, len(each)))
        totals.append((f"{webhook}:final:{state}:{outcome}", len(each)))
        if error == "1":
            counts.append(("errors", len(each)))
            totals.append((f"{webhook}:errors", len(each)))
        if status:
            times += [(f"step:{_step(duration)}", 1) for duration in each]
            totals += histogram(f"{webhook}:duration", Counter(each))
    added: dict[NotesHash, list[tuple[str, int]]] = {
        ("totals", "", ""): totals,
        ("minute", minute, ""): counts + times,
    }
    if webhook != UNREGISTERED:
        added["minute", minute, webhook] = counts + times
        added["hour", hour, ""] = [(f"{webhook}:{name}", amount) for name, amount in counts]
    return added


def histogram(name: str, durations_ms: Mapping[int, int]) -> Iterator[tuple[str, int]]:
    """Yield what durations, each with its count, add to a histogram: to ``name:0``, ``name:1``, ..., ``name:sum``."""
    for duration_ms, count in durations_ms.items():
        yield f"{name}:{bisect_left(DURATION_LIMITS_MS, duration_ms)}", count
        yield f"{name}:sum", count * duration_ms


def _step(duration_ms: int) -> int:
    return 0 if duration_ms <= 1 else math.ceil(math.log2(duration_ms) * STEPS_A_DOUBLING)
