"""The whole relay on a cluster, with HTTP callers, workers and sweeps, keeps the promises of `tests/chaos`."""

from __future__ import annotations

import os
import random

import pytest

from tests.chaos.plan import Plan
from tests.chaos.report import show
from tests.cluster.load import PLUGINS
from tests.cluster.mischief import perform_on_cluster

SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))
PLAN = Plan(SEED, 3_000, "everysec", seconds=30.0, plugins=PLUGINS)


@pytest.mark.timeout(400)
def test_every_promise_is_kept_on_a_cluster_whatever_happens_to_its_servers_and_to_the_processes():
    outcome = perform_on_cluster(PLAN)
    show(outcome)
    assert outcome.watched
    assert [check.promise for check in outcome.checks if not check.is_kept] == []
    assert outcome.loss["accepted ids lost"] == 0
