"""Prints the results of a run as tables, with everything known about the ids that break a promise."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tests.chaos.sometimes import SOMETIMES

if TYPE_CHECKING:
    from tests.chaos.promises import Check
    from tests.chaos.run import Outcome

SHOWN = 5  # how many ids that break a promise are shown in full
WIDTH = 150


def show(outcome: Outcome, console: Console | None = None) -> None:
    console = console or Console(width=WIDTH)
    plan = outcome.plan
    title = f"seed {plan.seed}, {plan.invocations} invocations, appendfsync {plan.fsync}"
    table = Table("promise", "found", "kept", title=title)
    for check in outcome.checks:
        table.add_row(check.promise, check.found, "yes" if check.is_kept else f"NO: {len(check.offenders)}")
    console.print(table)
    console.print(_figures(outcome))
    for check in outcome.checks:
        if not check.is_kept:
            _offenders(outcome, check, console)


def _figures(outcome: Outcome) -> Table:
    table = Table("figure", "value")
    kinds = Counter(fault.kind for fault in outcome.faults)
    table.add_row("faults", ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
    table.add_row(
        "answers of the API", ", ".join(f"{n} x {code}" for code, n in sorted(outcome.callers.answers.items()))
    )
    table.add_row("slowest answer of the API", f"{outcome.callers.slowest_answer_s:.1f} s")
    table.add_row("run, and from the last fault to the last end", f"{outcome.seconds:.0f} s, {outcome.drain_s:.1f} s")
    table.add_row("processes that ended and came back", str(outcome.came_back))
    missed = SOMETIMES - outcome.reached
    table.add_row("reached, and not", f"{len(outcome.reached)} conditions; {', '.join(sorted(missed)) or 'all'}")
    table.add_row("final records looked at meanwhile", str(outcome.watched))
    table.add_row("lost by a killed server", ", ".join(f"{name}: {value:g}" for name, value in outcome.loss.items()))
    return table


def _offenders(outcome: Outcome, check: Check, console: Console) -> None:
    console.print(f"\nbroken: {check.promise}; seed {outcome.plan.seed}")
    for ref in check.offenders[:SHOWN]:
        record = outcome.evidence.records.get(ref)
        console.print(ref, record or "no record", markup=False)
        console.print("   received:", outcome.evidence.receipts.get(ref, []), markup=False)
        told = [each for each in outcome.callers.told if each.reference_id == ref]
        operations = [each for kind in ("call", "key") for each in outcome.callers.history.of(kind).get(ref, [])]
        console.print("   told:", told, operations, markup=False)
        began_ms = [each.began_s * 1000 for each in operations] or [0]
        from_ms, to_ms = (min(began_ms), max(began_ms)) if record is None else (record.created_at_ms, _end_ms(record))
        near = [fault for fault in outcome.faults if fault.meets(from_ms - 1000, to_ms + 60_000)]
        console.print("   faults:", near, markup=False)


def _end_ms(record):
    return record.finished_at_ms or record.created_at_ms
