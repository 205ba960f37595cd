"""`python -m bench`: runs the tournament, prints the tables, writes the JSON.

Exit 0 if every contender that could run has a round that counts in every workload, else 1; targets are shown,
not enforced.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console

from bench.children import ROOT, end_on_sigterm
from bench.contenders.bullmq import BullMQ, BullMQWithDuties
from bench.contenders.celery_requests import CeleryRequests
from bench.contenders.python_peers import Arq, Dramatiq, Taskiq
from bench.contenders.relay import Relay
from bench.plan import FULL, QUICK, SHORT, WORKLOADS
from bench.report import as_json, machine, show
from bench.rounds import standings
from bench.tournament import Tournament

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.contenders.contender import Contender
    from bench.plan import Plan

CONTENDERS: Final[dict[str, Callable[[], Contender]]] = {
    "relay": Relay,
    "duties": BullMQWithDuties,
    "bullmq": BullMQ,
    "celery": CeleryRequests,
    "dramatiq": Dramatiq,
    "taskiq": Taskiq,
    "arq": Arq,
}
BUILD: Final = ROOT / "build" / "bench"


@click.command()
@click.option("--quick", is_flag=True, help="One small round each, no trials: shows that it works, in two minutes.")
@click.option("--short", is_flag=True, help="Short rounds, no trials: for a machine that others use too.")
@click.option("--rounds", type=click.IntRange(0, 99), help="Rounds for each Redis setting; 0 for the trials alone.")
@click.option("--no-trials", is_flag=True, help="Each contender plays the first of its variants.")
@click.option("--calls", type=click.IntRange(100, 1_000_000), help="Queued calls that each contender drains.")
@click.option("--fsync", type=click.Choice(["always", "everysec"]), multiple=True, help="Only this Redis setting.")
@click.option("--workload", type=click.Choice(WORKLOADS), multiple=True, help="Only this workload.")
@click.option("--contender", type=click.Choice(list(CONTENDERS)), multiple=True, help="Only this contender.")
@click.option("--precedence", is_flag=True, help="Others use this machine: what is measured goes first (needs root).")
@click.option("--json", "json_file", type=click.Path(path_type=Path), default=BUILD / "bench.json", show_default=False)
def main(contender: tuple[str, ...], precedence: bool, json_file: Path, **chosen: Any) -> None:
    """This relay beside its peers, in one run on this machine."""
    end_on_sigterm()
    console = Console(width=None if sys.stdout.isatty() else 140)
    whole = QUICK if chosen["quick"] else SHORT if chosen["short"] else FULL
    plan = _narrowed(whole, **chosen)
    facts = machine()
    players = [CONTENDERS[name]() for name in contender or CONTENDERS]
    tournament = Tournament(
        plan,
        players,
        BUILD,
        lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
        precedence=precedence,
    )
    tournament.play()
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps(as_json(tournament, facts, quick=chosen["quick"]), indent=1) + "\n")
    show(console, tournament, facts, plan.callers)
    wanted = {
        (each.name, work)
        for each in players
        if each.name not in tournament.skipped
        for work in plan.workloads
        if each.variants(work)
    }
    found = {(each.contender, each.workload) for each in standings(tournament.rounds)}
    sys.exit(0 if wanted <= found else 1)


def _narrowed(
    plan: Plan,
    *,
    rounds: int | None,
    no_trials: bool,
    calls: int | None,
    fsync: tuple[str, ...],
    workload: tuple[str, ...],
    **_: Any,
) -> Plan:
    """Return the plan, reduced to what the options ask for."""
    kept = {
        name: count if rounds is None else rounds for name, count in plan.rounds.items() if not fsync or name in fsync
    }
    sizes = plan.sizes
    if calls:
        sizes = {name: replace(each, calls=dict.fromkeys(each.calls, calls)) for name, each in sizes.items()}
    workloads = tuple(name for name in plan.workloads if not workload or name in workload)
    trial = None if no_trials else plan.trial
    return replace(plan, rounds=kept, sizes=sizes, workloads=workloads, trial=trial)


if __name__ == "__main__":
    main()
