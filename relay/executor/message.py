"""The calls of one message: how far they have come, and how many of them could not be prepared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from relay.errors import StoreFault, Unavailable
from relay.executor.preparation import TokenWanted
from relay.process.clock import boot_time_s
from relay.process.loops import Failures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.executor.preparation import Call, Preparation
    from relay.store.transitions import CallRecord, Claimed

#: For how long a message's calls may wait for their webhook's share, counted anew when some of them are claimed, before
#: they are parked. Meanwhile the message holds one of the few tasks of its process, and those behind it wait as well.
HOLD_S: Final = 0.25
#: How many calls of a message may be left out because they cannot be read now; beyond that the store counts as away.
LEFT_OUT: Final = 2


def _nothing_done() -> dict[str, int]:
    return {"started": 0, "skipped": 0, "parked": 0}


@dataclass(slots=True)
class Message:
    """The calls that one message brought; ``waits``: whether they wait for access tokens, which tasks must not."""

    left: set[str]  # ids that were neither claimed, parked nor handed on
    waits: bool
    counts: dict[str, int] = field(default_factory=_nothing_done)
    park_at_s: float = field(default_factory=lambda: boot_time_s() + HOLD_S)
    prepared: dict[str, Call] = field(default_factory=dict)  # by id, for which there was no slot yet
    failed: int = 0

    @property
    def hold_s(self) -> float:
        """Return for how many seconds more its calls may wait; 0 if they are to be parked."""
        return max(0.0, self.park_at_s - boot_time_s())

    def claimed(self, claimed: Claimed) -> None:
        """Note which of its calls were claimed or parked; a claim gives the others more time."""
        self.left -= claimed.granted | claimed.parked
        if claimed.granted:
            self.park_at_s = boot_time_s() + HOLD_S
        self.counts["started"] += len(claimed.granted)
        self.counts["parked"] += len(claimed.parked)

    def keep(self, calls: Sequence[Call]) -> None:
        """Keep prepared calls that have to wait for slots."""
        self.prepared = {call.record.reference_id: call for call in calls}

    def prepare(self, preparation: Preparation, records: Sequence[CallRecord]) -> tuple[list[Call], list[CallRecord]]:
        """Prepare these calls; return those that can be claimed, and those whose access token has to be fetched first.

        Raises `Unavailable` or `StoreFault` for more than a few that cannot be prepared now.
        """
        calls: list[Call] = []
        wanting: list[CallRecord] = []
        for record in records:
            try:
                call = self.prepared.get(record.reference_id) or preparation.prepare(record, waits=self.waits)
            except (Unavailable, StoreFault) as error:
                self.failed += 1
                if Failures("prepare").note(error) or self.failed <= LEFT_OUT:
                    continue  # another message brings it again: the others need not wait
                raise
            if isinstance(call, TokenWanted):
                wanting.append(record)
            else:
                calls.append(call)
        return calls, wanting
