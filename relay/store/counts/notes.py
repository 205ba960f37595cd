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
    from collections.abc import Iterable, Mapping

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
        own: Amounts = defaultdict(Counter)
        with suppress(ValueError):
            at, webhook, accepted, *ends = note.decode().split(" ")
            _add_note(own, int(at), webhook, int(accepted), ends)
            for place, counts in own.items():
                amounts[place].update(counts)
    return amounts


def _add_note(amounts: Amounts, at_ms: int, webhook: str, accepted: int, ends: list[str]) -> None:
    totals = amounts["totals", "", ""]
    minute, hour = at_ms // MINUTE_MS, at_ms // HOUR_MS
    counts, times = Counter[str](), Counter[str]()
    if accepted:
        counts["accepted"] = accepted
        totals[f"{webhook}:accepted"] += accepted
    for end in ends:
        kind, _, durations = end.partition("=")
        state, outcome, status, error, *_ = kind.split(":")
        each = [int(duration) for duration in durations.split(",")]
        counts[state] += len(each)
        totals[f"{webhook}:final:{state}:{outcome}"] += len(each)
        if error == "1":
            counts["errors"] += len(each)
            totals[f"{webhook}:errors"] += len(each)
        if status:
            times.update(f"step:{_step(duration)}" for duration in each)
            add_durations(totals, f"{webhook}:duration", Counter(each))
    amounts["minute", minute, ""].update(counts + times)
    if webhook != UNREGISTERED:
        amounts["minute", minute, webhook].update(counts + times)
        amounts["hour", hour, ""].update({f"{webhook}:{name}": count for name, count in counts.items()})


def add_durations(totals: Counter[str], name: str, durations_ms: Mapping[int, int]) -> None:
    """Add durations, each with its count, to a histogram in totals: ``name:0``, ``name:1``, ..., ``name:sum``."""
    for duration_ms, count in durations_ms.items():
        totals[f"{name}:{bisect_left(DURATION_LIMITS_MS, duration_ms)}"] += count
        totals[f"{name}:sum"] += count * duration_ms


def _step(duration_ms: int) -> int:
    return 0 if duration_ms <= 1 else math.ceil(math.log2(duration_ms) * STEPS_A_DOUBLING)
