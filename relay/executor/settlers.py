"""Runs a settler for each partition of the store, so that a stalled server does not delay the others' calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.executor.settling import Settler
from relay.process.clock import boot_time_s

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.store.invocations import InvocationStore
    from relay.store.transitions import CallRecord, Ready, Settlement


class Settlers:
    """Settles calls, those of each partition with a `Settler` of its own; that of partition 0 runs from the start."""

    def __init__(
        self,
        store: InvocationStore,
        on_settled: Callable[[Sequence[Settlement], Sequence[bool]], None],
        on_ready: Callable[[Ready, Sequence[CallRecord]], None],
        with_room: Callable[[Sequence[Settlement]], Sequence[Settlement]],
    ) -> None:
        self._store = store
        self._parts = on_settled, on_ready, with_room
        self._settlers = {0: Settler(store, *self._parts)}

    @property
    def moves(self) -> int:
        """How often the settlers have iterated, in all."""
        return sum(each.moves for each in self._settlers.values())

    @property
    def waiting(self) -> int:
        """How many settlements wait, in all."""
        return sum(each.waiting for each in self._settlers.values())

    def put(self, settlement: Settlement) -> None:
        """Queue a settlement for the settler of its partition."""
        number = self._store.group_of(settlement.reference_id)
        settler = self._settlers.get(number)
        if settler is None:
            settler = self._settlers[number] = Settler(self._store, *self._parts)
        settler.put(settlement)

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing is left to settle; return False if that takes longer than ``timeout_s`` seconds."""
        until_s = boot_time_s() + timeout_s
        flushed = [each.flush(max(0.0, until_s - boot_time_s())) for each in self._settlers.values()]
        return all(flushed)
