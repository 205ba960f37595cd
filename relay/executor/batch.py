"""Tracks calls that a worker took together: which were started, parked or left, and how many could not be prepared."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from relay.errors import StoreFault, Unavailable
from relay.process.clock import boot_time_s
from relay.process.loops import Failures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.executor.chain_evaluation import Decided
    from relay.executor.preparation import Call, Preparation
    from relay.store.ledger.transitions import CallRecord, Claimed

#: How many seconds the calls of a batch may wait for slots before they are parked; a claim that is granted some of them
#: restarts the time. Meanwhile the batch occupies one of its process's few tasks.
HOLD_S: Final = 0.25
#: How many calls of a batch may be left out because they cannot be prepared; after more, the store counts as away.
LEFT_OUT: Final = 2


@dataclass(slots=True)
class Batch:
    """Calls that were taken together. ``waits`` says whether they wait for access tokens, which a task's must not."""

    left: set[str]  # ids that have not been claimed, parked or handed on
    waits: bool
    counts: Counter[str] = field(default_factory=Counter)
    park_at_s: float = field(default_factory=lambda: boot_time_s() + HOLD_S)
    prepared: dict[str, Call] = field(default_factory=dict)  # by id: calls for which there was no slot yet
    failed: int = 0
    decided: list[Decided] = field(default_factory=list)  # its chains that are being taken further

    @property
    def hold_s(self) -> float:
        """How many more seconds its calls may wait; 0 if they are to be parked."""
        return max(0.0, self.park_at_s - boot_time_s())

    def claimed(self, claimed: Claimed) -> None:
        """Note which of its calls were claimed or parked; if some were claimed, the others get more time."""
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

        A call that cannot be prepared now is left out; `Unavailable` is raised only after more than `LEFT_OUT` of them.
        """
        calls: list[Call] = []
        wanting: list[CallRecord] = []
        for record in records:
            try:
                call = self.prepared.get(record.reference_id) or preparation.prepare(record, waits=self.waits)
            except (Unavailable, StoreFault) as error:
                self._leave_out(error)
                continue
            if call is None:
                wanting.append(record)
            else:
                calls.append(call)
        return calls, wanting

    def decide(self, preparation: Preparation, chains: Sequence[CallRecord]) -> list[Decided]:
        """Work out what these chains do next, and leave out and raise as `prepare` does."""
        decided: list[Decided] = []
        preparation.read_ahead(chains)
        for record in chains:
            try:
                decided.append(preparation.decide(record))
            except (Unavailable, StoreFault) as error:
                self._leave_out(error)
        return decided

    def _leave_out(self, error: Exception) -> None:
        """Leave a call to a sweep, since the others need not wait for it; raise once the store counts as away."""
        self.failed += 1
        if not Failures("prepare").note(error) and self.failed > LEFT_OUT:
            raise error
