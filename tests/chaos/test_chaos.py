"""Short chaos runs: a few thousand invocations with each fsync policy, and a power loss. `make chaos` runs longer."""

from __future__ import annotations

import os
import random

import pytest

from tests.chaos.plan import Plan
from tests.chaos.report import show
from tests.chaos.run import perform

SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))
#: Short forms of `make chaos`.
ALWAYS = Plan(SEED, 3_000, "always", seconds=20.0)
EVERY_SECOND = Plan(SEED, 2_000, "everysec", workers=1, seconds=15.0)
POWER_LOST = Plan(SEED, 1_000, "everysec", seconds=15.0, power_loss=True)


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "plan", [ALWAYS, EVERY_SECOND, POWER_LOST], ids=["always", "everysec with one worker a lane", "power lost"]
)
def test_every_promise_is_kept_whatever_happens_to_the_processes(plan):
    outcome = perform(plan)
    show(outcome)
    assert outcome.watched
    assert [check.promise for check in outcome.checks if not check.is_kept] == []
    if plan.fsync == "always":
        assert outcome.loss["accepted ids lost"] == 0
