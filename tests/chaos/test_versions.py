"""Processes of this release and of the one before it keep every promise side by side, in any order of restart."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest

from tests.chaos.harness import running
from tests.chaos.plan import Plan
from tests.chaos.report import show
from tests.chaos.run import perform
from tests.chaos.versions import last_release, tree_of
from tests.cluster.load import PLUGINS
from tests.cluster.mischief import perform_on_cluster

SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))
#: Short forms of `python -m tests.chaos --beside`, and the same with `--cluster`.
RUNS = {
    "one server": (perform, Plan(SEED, 3_000, "always", seconds=20.0)),
    "cluster": (perform_on_cluster, Plan(SEED, 2_000, "everysec", seconds=20.0, plugins=PLUGINS)),
}


@pytest.fixture(scope="module")
def before():
    with tree_of(last_release()) as tree:
        yield tree


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("perform", "plan"), RUNS.values(), ids=RUNS)
def test_every_promise_is_kept_while_each_process_that_ends_comes_back_as_the_other_release(before, perform, plan):
    outcome = perform(plan, before)
    show(outcome)
    assert outcome.watched
    assert outcome.came_back >= 2
    assert [check.promise for check in outcome.checks if not check.is_kept] == []
    assert outcome.loss["accepted ids lost"] == 0


def test_the_code_of_the_other_tree_comes_before_what_is_installed(before):
    code = "import api, json, relay, workers; print(json.dumps([each.__file__ for each in (api, relay, workers)]))"
    told = subprocess.check_output([sys.executable, "-c", code], cwd=before, env=running(before, dict(os.environ)))
    assert json.loads(told) == [str(before / name / "__init__.py") for name in ("api", "relay", "workers")]
