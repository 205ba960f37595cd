"""`python -m bench`: measures the relay as shipped beside its peers, and prints where it is ahead and where behind.

Exit 0 if every row of the final table has a figure of the relay and of BullMQ with equal duties; else 1. Targets are
shown, not enforced.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import asdict, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bench.children import ROOT, end_on_sigterm
from bench.comparison import compared
from bench.contenders.bullmq import BullMQ, BullMQWithDuties
from bench.contenders.python_peers import Arq, CeleryRequests, Dramatiq, Stack, Taskiq
from bench.contenders.relay import Relay
from bench.machine import commit, machine, versions
from bench.plan import FULL, QUICK
from bench.readings import medians
from bench.run import Run
from bench.tables import all_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.contenders.contender import Contender, Shippable

#: As users run them, in the order in which they take turns.
SHIPPED: Final[dict[str, Callable[[], Shippable]]] = {
    "relay": Relay,
    "duties": BullMQWithDuties,
    "celery": CeleryRequests,
}
OTHERS: Final[dict[str, Callable[[], Contender]]] = {
    "bullmq": BullMQ,
    "dramatiq": Dramatiq,
    "taskiq": Taskiq,
    "arq": Arq,
    "stack": Stack,
}
BUILD: Final = ROOT / "build" / "bench"


@click.command()
@click.option("--quick", is_flag=True, help="One round, six minutes; has every row of the final table, not the waves.")
@click.option("--rounds", type=click.IntRange(1, 99), help="Rounds of the relay and of BullMQ with equal duties.")
@click.option("--contender", type=click.Choice([*SHIPPED, *OTHERS]), multiple=True, help="Only this contender.")
@click.option("--only", type=click.Choice(["shipped", "waves"]), help="Only one of the two parts.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), default=BUILD / "bench.json", show_default=False)
def main(quick: bool, rounds: int | None, contender: tuple[str, ...], only: str | None, json_file: Path) -> None:
    """This relay as it is shipped beside its peers, in one run on this machine."""
    end_on_sigterm()
    began_s, facts, plan = time.monotonic(), machine(), QUICK if quick else FULL
    if rounds:
        plan = replace(plan, rounds=rounds, rounds_within_s=inf)
    names = contender or (*SHIPPED, *OTHERS)
    shipped = [make() for name, make in SHIPPED.items() if name in names]
    others = [make() for name, make in OTHERS.items() if name in names]
    waves = only == "waves" or (plan.wave_rounds > 0 and only is None)
    run = Run(plan, BUILD, click.echo)
    shutil.rmtree(BUILD / "stages", ignore_errors=True)
    run.prepare([*shipped, *(others if waves else ())])
    if only != "waves":
        run.shipped(shipped)
    if waves:
        run.waves([*shipped, *others])
    found = medians(run.readings)
    text = "\n\n".join(all_tables(found, [each.name for each in (*shipped, *others)]))
    value: dict[str, Any] = {
        "commit": commit(),
        "quick": quick,
        "machine": facts,
        "versions": {**versions(), **run.versions},
        "skipped": run.skipped,
        "seconds": round(time.monotonic() - began_s),
        "compared": [asdict(each) for each in compared(found)],
        "readings": [asdict(each) for each in run.readings],
    }
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps(value, indent=1) + "\n")
    json_file.with_suffix(".md").write_text(text + "\n\n" + _footer(value) + "\n")
    click.echo(f"\n{text}\n\n{_footer(value)}")
    complete = all(row.ours is not None and row.beside[0].theirs is not None for row in compared(found))
    sys.exit(0 if complete or contender or only else 1)


def _footer(value: dict[str, Any]) -> str:
    facts = value["machine"]
    ran = f"Commit {value['commit']}; {value['seconds'] / 60:.1f} minutes; load before the run {facts['load_1m']}; "
    on = f"{facts['cores']} cores, {facts['processor']}, {facts['system']}, Python {facts['python']}."
    lines = [ran + on, ", ".join(f"{name} {found}" for name, found in value["versions"].items()) + "."]
    lines += [f"{name} was skipped: {reason}" for name, reason in value["skipped"].items()]
    faults = [each for each in value["readings"] if each["faults"]]
    lines += [f"{each['contender']}, {each['row']} does not count: {'; '.join(each['faults'])}" for each in faults]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
