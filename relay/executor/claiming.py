"""Claims calls, and gives them back where nothing of them has left."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import gevent

from relay.errors import Unavailable
from relay.outbound.gate import boot_time_s
from relay.telemetry import Event, event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay.store.invocations import InvocationStore
    from relay.store.transitions import Claimed, Ready

#: Between two tries while the store is away.
RETRY_S: Final = 0.5
#: For how long that is tried: far beyond any lease.
GIVE_BACK_S: Final = 3600.0


class Claimer:
    """Claims of one process; ``publish`` gets what may be run when calls were given back."""

    def __init__(self, store: InvocationStore, publish: Callable[[Ready], object]) -> None:
        self._store = store
        self._publish = publish
        self._under_way = 0  # to the store and back

    @property
    def busy(self) -> bool:
        """Whether the answer to a claim is still out."""
        return self._under_way > 0

    def claim(self, reference_ids: Sequence[str], token: str, park: Sequence[str]) -> Claimed:
        """Take calls to send them, and park others.

        Raises:
            Unavailable: the answer was lost. What may have been granted is given back as soon as that can be said.
        """
        self._under_way += 1
        try:
            return self._store.claim(reference_ids, token, park=park)
        except Unavailable:
            gevent.spawn(self._give_back_surely, reference_ids, token)
            raise
        finally:
            self._under_way -= 1

    def give_back(self, by_token: Mapping[str, Sequence[str]]) -> None:
        """Say once that these have not left; where that cannot be said their leases end by themselves."""
        for token, reference_ids in by_token.items():
            try:
                self._publish(self._store.release(reference_ids, token))
            except Unavailable:
                event(Event.STORE_AWAY, level=logging.WARNING, doing="release", calls=len(reference_ids))

    def _give_back_surely(self, reference_ids: Sequence[str], token: str) -> None:
        end_s = boot_time_s() + GIVE_BACK_S
        while boot_time_s() < end_s:
            gevent.sleep(RETRY_S)
            try:
                self._publish(self._store.release(reference_ids, token))
            except Unavailable:
                continue
            return
