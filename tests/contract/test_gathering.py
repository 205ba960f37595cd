"""Measurements that a worker writes to the store are counted once, even if replies are lost."""

from __future__ import annotations

import pytest

from relay.errors import Unavailable
from relay.metrics.gathering import ATTEMPT, Gathering
from relay.store.counts.measures import Measures

HOOK = ("acme", "hook")


class Flaky(Measures):
    """Loses the reply, or the request itself, of a given number of writes."""

    losses: tuple[str, ...] = ()

    def add(self, *args):
        loss, self.losses = (self.losses[0], self.losses[1:]) if self.losses else ("", ())
        if loss == "call":
            raise Unavailable
        super().add(*args)
        if loss == "reply":
            raise Unavailable


@pytest.mark.parametrize("losses", [(), ("call",), ("reply",), ("reply", "reply"), ("call", "reply", "call")])
def test_what_was_gathered_is_added_once(redis_client, losses):
    measures = Flaky(redis_client)
    measures.losses = losses
    gathering = Gathering(measures, "w1")
    for duration_ms in (3, 5, 6, 4_000_000):
        gathering.add(ATTEMPT, HOOK, duration_ms)
    gathering.add(ATTEMPT, ("other", "hook"), 7)
    for _ in losses:
        gathering.add_to_store()
        gathering.add(ATTEMPT, HOOK, 1)
    gathering.add_to_store()
    totals = measures.totals("acme")
    assert totals["hook", "attempt:0"] == 2 + len(losses)
    assert (totals["hook", "attempt:1"], totals["hook", "attempt:17"]) == (1, 1)
    assert totals["hook", "attempt:sum"] == 4_000_014 + len(losses)
    assert measures.totals("other")["hook", "attempt:sum"] == 7
