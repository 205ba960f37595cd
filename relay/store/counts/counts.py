"""How many invocations were accepted and ended, in any period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from relay.domain.invocation import FINAL, State

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

#: Final states in the order in which they are shown.
ENDS: Final = tuple(state for state in State if state in FINAL)
#: Whether a webhook is failing is judged by this many minutes, and only if at least this many of its calls ended then.
RECENT_MINUTES: Final = 5
FEWEST_ENDS: Final = 10


@dataclass(frozen=True, slots=True)
class Counts:
    """How many invocations were accepted, how many reached each final state, and how many of these ended in error."""

    accepted: int
    final: Mapping[State, int]
    errors: int

    @property
    def ended(self) -> int:
        """The number that reached a final state."""
        return sum(self.final.values())

    @property
    def failed_percent(self) -> int:
        """The share of those that ended in error."""
        return round(100 * self.errors / self.ended) if self.ended else 0


NOTHING_COUNTED: Final = Counts(0, dict.fromkeys(ENDS, 0), 0)


def counts_from(names: Counter[str]) -> Counts:
    """Return the counts that are kept under these names."""
    return Counts(names["accepted"], {state: names[state] for state in ENDS}, names["errors"])
