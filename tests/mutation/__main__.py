"""Puts small faults into the product, one at a time, and reports those that no test notices (`make mutate`).

Of each area, so many lines are drawn by chance, and one fault in each. The tests are those that execute the line in
their own process: what is noticed only by a test that starts processes is reported as unnoticed. Writes each fault
with what became of it to ``build/mutation/faults.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from itertools import islice, zip_longest
from multiprocessing import get_context
from pathlib import Path

from tests.mutation import FOLDER, ROOT
from tests.mutation.areas import AREAS, draw
from tests.mutation.noticing import begin, judge

VERDICTS = ("noticed", "hangs", "unnoticed", "untested")


def main():
    options = _options()
    drawn = (islice(draw(area, options.seed), options.count) for area in options.areas)
    chosen = [fault for turn in zip_longest(*drawn) for fault in turn if fault is not None]
    if options.control:
        chosen = [replace(fault, after=fault.before, text=(ROOT / fault.path).read_text()) for fault in chosen]
    results = FOLDER / "faults.jsonl"
    tried, unnoticed = Counter(), []
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(options.processes, get_context("spawn"), begin, (Path(folder),)) as pool,
        results.open("a") as kept,
    ):
        faults = {pool.submit(judge, fault): fault for fault in chosen}
        for judged in as_completed(faults):
            fault, verdict = faults[judged], judged.result()
            row = asdict(fault) | {"text": "", "seed": options.seed, "verdict": verdict}
            print(json.dumps(row), file=kept, flush=True)
            tried[fault.area, verdict] += 1
            if verdict not in {"noticed", "hangs"}:
                unnoticed.append(fault)
                print(f"{verdict}: {fault}", flush=True)
    for area in options.areas:
        print(f"{area}:", *(f"{tried[area, verdict]} {verdict}" for verdict in VERDICTS))
    sys.exit(bool(unnoticed))


def _options():
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("areas", nargs="*", default=list(AREAS), help=f"of {', '.join(AREAS)}; all by default")
    parser.add_argument("--count", type=int, default=50, help="faults in each area")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--control", action="store_true", help="put in no faults: nothing may be noticed")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    return parser.parse_args()


if __name__ == "__main__":
    main()
