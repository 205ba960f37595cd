"""Short chaos runs: a few thousand invocations with each fsync policy, and a power loss. `make chaos` runs longer."""

from __future__ import annotations

import os
import random

import pytest

from tests.chaos.plan import Plan
from tests.chaos.report import show
from tests.chaos.run import perform
from tests.chaos.sometimes import SOMETIMES

SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))
#: Short forms of `make chaos`.
ALWAYS = Plan(SEED, 3_000, "always", seconds=20.0, part=(0, 3))
EVERY_SECOND = Plan(SEED, 2_000, "everysec", workers=1, seconds=15.0, part=(1, 3))
POWER_LOST = Plan(SEED, 1_000, "everysec", seconds=15.0, power_loss=True, part=(2, 3))
PLANS = {"always": ALWAYS, "everysec with one worker a lane": EVERY_SECOND, "power lost": POWER_LOST}
_REACHED: dict[Plan, frozenset[str]] = {}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_every_promise_is_kept_whatever_happens_to_the_processes(plan):
    outcome = perform(plan)
    _REACHED[plan] = outcome.reached
    show(outcome)
    assert outcome.watched
    assert [check.promise for check in outcome.checks if not check.is_kept] == []
    if plan.fsync == "always":
        assert outcome.loss["accepted ids lost"] == 0


def test_the_runs_reach_every_condition_that_they_are_to_try():
    if len(_REACHED) < len(PLANS):
        pytest.skip("needs the runs above, all of them")
    assert SOMETIMES - frozenset().union(*_REACHED.values()) == set()
