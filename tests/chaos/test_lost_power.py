"""A loss of power under `everysec` excuses a record that changed only if its end was younger than two seconds."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.chaos.run import SYNCED_AFTER_MS, ended_before_loss

LOST_MS = 1_796_002_967_307


@pytest.mark.parametrize(
    ("finished_at_ms", "is_excused"),
    [
        (LOST_MS - 1, True),
        (LOST_MS - SYNCED_AFTER_MS, True),
        (LOST_MS - SYNCED_AFTER_MS - 1, False),
        (LOST_MS, False),
        (None, False),
    ],
)
def test_only_an_end_that_was_not_synced_may_be_undone(finished_at_ms, is_excused):
    watch = SimpleNamespace(changed={"ref": (("delivered", "answered", 200, finished_at_ms), None)})
    assert ended_before_loss(SimpleNamespace(lost_power_at_ms=LOST_MS), watch) == ({"ref"} if is_excused else set())
    assert ended_before_loss(SimpleNamespace(lost_power_at_ms=None), watch) == set()
