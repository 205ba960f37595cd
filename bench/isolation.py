"""`python -m bench.isolation`: how much a webhook slows its neighbours, as ratios of one run (docs/benchmarks.md).

Each comparison runs in rounds that measure calm and disturbed on the same real processes; the median of the rounds'
ratios counts.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.table import Table

from bench import scenarios
from bench.children import ROOT, BenchError, end_on_sigterm
from bench.machine import machine

if TYPE_CHECKING:
    from collections.abc import Callable

BUILD: Final = ROOT / "build" / "isolation"


@dataclass(frozen=True, slots=True)
class Promise:
    """The bound that is promised for a ratio: at least, or less than."""

    name: str
    text: str
    play: Callable[[Path, bool], scenarios.Pair]
    least: float | None = None
    below: float | None = None

    def kept(self, ratio: float) -> bool:
        """Return whether a ratio keeps the promise."""
        return (self.least is None or ratio >= self.least) and (self.below is None or ratio < self.below)

    @property
    def bound(self) -> str:
        """The bound as text."""
        return f">= {self.least:g}" if self.least is not None else f"< {self.below:g}"


PROMISES: Final = (
    Promise("cap", "busy share of a capped webhook, 8 places, 50 ms", scenarios.cap_busy, least=0.9),
    Promise("cap-one", "busy share of a capped webhook, 1 place, 100 ms", scenarios.cap_of_one_busy, least=0.9),
    Promise("parked", "quick webhook's rate beside 10,000 calls parked at a cap", scenarios.beside_parked, least=0.9),
    Promise("parking", "... while those are being parked", scenarios.beside_parking, least=0.9),
    Promise("pending", "awaited p99 with 100,000 bulk calls pending", scenarios.beside_pending, below=3),
    Promise("draining", "... while those are drained", scenarios.beside_draining, below=3),
    Promise("replaying", "... while 100,000 are replayed, 250/s", scenarios.beside_replaying, below=1.2),
    Promise("slow-async", "p99 beside 100 times the load on 30 s, both async", scenarios.beside_slow_async, below=2),
    Promise("slow-awaited", "... both awaited", scenarios.beside_slow_awaited, below=2),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A promise, its rounds (calm, disturbed), and whether it was kept."""

    name: str
    text: str
    bound: str
    rounds: tuple[scenarios.Pair, ...]
    ratio: float | None
    kept: bool | None


@click.command()
@click.option("--quick", is_flag=True, help="One small round each: shows that it works.")
@click.option("--rounds", type=click.IntRange(1, 99), default=3, show_default=True)
@click.option("--promise", type=click.Choice([each.name for each in PROMISES]), multiple=True, help="Only this one.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), default=BUILD / "isolation.json")
def main(*, quick: bool, rounds: int, promise: tuple[str, ...], json_file: Path) -> None:
    """What a webhook costs its neighbours."""
    end_on_sigterm()
    console = Console(width=None if sys.stdout.isatty() else 140)
    facts = machine()
    shutil.rmtree(BUILD / "stages", ignore_errors=True)
    chosen = [each for each in PROMISES if not promise or each.name in promise]
    found: dict[str, list[scenarios.Pair]] = {each.name: [] for each in chosen}
    for number in range(1 if quick else rounds):
        for each in chosen:
            folder = BUILD / "stages" / f"{number + 1}-{each.name}"
            try:
                pair = each.play(folder, quick)
            except BenchError as error:
                console.print(f"{each.name}: does not count: {error}", markup=False, soft_wrap=True)
                continue
            finally:
                shutil.rmtree(folder / "data", ignore_errors=True)
            found[each.name].append(pair)
            console.print(f"{each.name:13} {pair.line}", markup=False, highlight=False, soft_wrap=True)
    findings = [_finding(each, found[each.name]) for each in chosen]
    json_file.parent.mkdir(parents=True, exist_ok=True)
    value = {"quick": quick, "machine": facts, "promises": [asdict(each) for each in findings]}
    json_file.write_text(json.dumps(value, indent=1) + "\n")
    console.print(_table(findings))
    console.print(f"{facts['cores']} cores, load before the run {facts['load_1m']}", markup=False)
    sys.exit(0 if all(each.ratio is not None for each in findings) else 1)


def _finding(promise: Promise, pairs: list[scenarios.Pair]) -> Finding:
    ratio = median(pair.ratio for pair in pairs) if pairs else None
    kept = None if ratio is None else promise.kept(ratio)
    return Finding(promise.name, promise.text, promise.bound, tuple(pairs), ratio, kept)


def _table(findings: list[Finding]) -> Table:
    table = Table(title="What a webhook costs its neighbours", title_justify="left")
    for name in ("promise", "what is compared"):
        table.add_column(name)
    for name in ("calm", "disturbed", "ratio", "wanted", "rounds"):
        table.add_column(name, justify="right")
    table.add_column("")
    marks = {True: "kept", False: "NOT kept", None: "unknown"}
    for each in findings:
        calm = f"{median(pair.calm for pair in each.rounds):,.1f}" if each.rounds else "-"
        disturbed = f"{median(pair.disturbed for pair in each.rounds):,.1f}" if each.rounds else "-"
        ratio = "-" if each.ratio is None else f"{each.ratio:.2f}"
        table.add_row(each.name, each.text, calm, disturbed, ratio, each.bound, str(len(each.rounds)), marks[each.kept])
    return table


if __name__ == "__main__":
    main()
