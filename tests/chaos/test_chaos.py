"""The short form: 10,000 invocations under both kinds of durability, and a machine that loses power. `make chaos` is longer."""

from __future__ import annotations

import os
import random

import pytest

from tests.chaos.plan import Plan
from tests.chaos.report import show
from tests.chaos.run import perform

INVOCATIONS = 5_000
SECONDS = 40.0
SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("fsync", "power_loss"),
    [("always", False), ("everysec", False), ("everysec", True)],
    ids=["always", "everysec", "power lost under everysec"],
)
def test_every_promise_is_kept_whatever_happens_to_the_processes(fsync, power_loss):
    invocations = INVOCATIONS // 5 if power_loss else INVOCATIONS
    outcome = perform(Plan(SEED, invocations, fsync, seconds=20.0 if power_loss else SECONDS, power_loss=power_loss))
    show(outcome)
    assert [check.promise for check in outcome.checks if not check.is_kept] == []
    if fsync == "always":
        assert outcome.loss["accepted ids lost"] == 0
