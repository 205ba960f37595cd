"""`python -m tests.chaos [--seed N] [--invocations N] [--fsync always|everysec|both] [--power-loss] [--beside [REF]] [--cluster]`."""

from __future__ import annotations

import argparse
import random
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.chaos.plan import Plan
from tests.chaos.report import show
from tests.chaos.run import perform
from tests.chaos.versions import last_release, tree_of
from tests.cluster.mischief import perform_on_cluster

if TYPE_CHECKING:
    from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description="A relay under faults, and its promises."
    )
    parser.add_argument("--seed", type=int, default=None, help="of the schedule of faults; default: any")
    parser.add_argument("--seeds", type=int, default=1, help="so many runs, each with the next seed")
    parser.add_argument("--invocations", type=int, default=5_000)
    parser.add_argument("--fsync", choices=["always", "everysec", "both"], default="both")
    parser.add_argument(
        "--seconds", type=float, default=None, help="over which the triggers come; default: 300 a second"
    )
    parser.add_argument("--workers", type=int, default=2, help="of the bulk lane")
    parser.add_argument("--power-loss", action="store_true", help="under everysec: lose the second that is not synced")
    parser.add_argument(
        "--beside",
        nargs="?",
        const="",
        metavar="REF",
        help="half of the processes are of this release; default: the last",
    )
    parser.add_argument("--cluster", action="store_true", help="the store is a cluster, whose servers fail, too")
    options = parser.parse_args()
    with ExitStack() as stack:
        try:
            beside = None if options.beside is None else stack.enter_context(tree_of(options.beside or last_release()))
        except pytest.skip.Exception as skipped:
            parser.error(f"--beside: {skipped}; or name a commit (--beside REF)")
        return _all_runs(options, beside)


def _all_runs(options: argparse.Namespace, beside: Path | None) -> int:
    first = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    modes = ["always", "everysec"] if options.fsync == "both" else [options.fsync]
    kept = True
    for seed in range(first, first + options.seeds):
        for mode in modes:
            power_loss = options.power_loss and mode == "everysec"
            seconds = options.seconds or max(40.0, options.invocations / 300)
            plan = Plan(seed, options.invocations, mode, options.workers, seconds, power_loss)
            run = perform_on_cluster if options.cluster else perform
            outcome = run(plan, beside)
            show(outcome)
            kept = kept and outcome.is_kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
