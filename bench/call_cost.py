"""What one drained call costs: processor time of the server within its scripts, and of the worker.

python -m bench.call_cost                  this working tree
python -m bench.call_cost --rounds 3       the median of three stages
python -m bench.call_cost --rounds 7 --vary RELAY_FLOWER_EVENTS=0,50
                                           workers with either value of a setting in turn, on one stage
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import click
import psutil
from rich.console import Console
from rich.table import Table

from bench.neighbours import QUICK, neighbours
from relay.store.keys.names import ROOT, key_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.neighbours import Neighbours

WARM_UP: Final = 2_000
DRAIN_S: Final = 300.0


@dataclass(frozen=True)
class CallCost:
    """Microseconds a call, and the numbers of script runs and commands that it took."""

    in_scripts_us: float  # of the server, within FCALL
    server_us: float  # of the server's processor time, in all
    worker_us: float
    script_runs: float
    commands: float  # those within scripts, too
    calls_s: float


def measured(at: Neighbours, calls: int, settings: Mapping[str, str] | None = None) -> CallCost:
    """Drain ``calls`` calls with one worker, after a first drain has warmed it up."""
    at.queue(WARM_UP, (QUICK,))
    at.start_worker("bulk", settings)
    _drain(at)
    at.stop_worker("bulk")
    at.queue(calls, (QUICK,))
    at.start_worker("bulk", settings)
    before, began_s = _standing(at), _time(at)
    _drain(at)
    after, ended_s = _standing(at), _time(at)
    at.stop_worker("bulk")
    spent = {name: (after[name] - before[name]) / calls for name in before}
    return CallCost(**spent, calls_s=calls / (ended_s - began_s))


def _drain(at: Neighbours) -> None:
    at.stage.children.wait_until("the drain", lambda: at.client.hget(key_in(ROOT, "pending"), "count") == b"0", DRAIN_S)


def _time(at: Neighbours) -> float:
    seconds, micros = at.client.time()
    return float(seconds + micros / 1e6)


def _standing(at: Neighbours) -> dict[str, float]:
    """Return microseconds and counts since the start; the worker is found by its name among this process's children."""
    commands, server = at.client.info("commandstats"), at.client.info("cpu")
    fcall = commands.get("cmdstat_fcall", {"usec": 0, "calls": 0})
    return {
        "in_scripts_us": fcall["usec"],
        "server_us": 1e6 * (server["used_cpu_user"] + server["used_cpu_sys"]),
        "worker_us": 1e6 * sum(_worker_s()),
        "script_runs": fcall["calls"],
        "commands": sum(each["calls"] for each in commands.values()),
    }


def _worker_s() -> list[float]:
    found = []
    for process in psutil.Process().children(recursive=True):
        if "celery" in " ".join(process.cmdline()):
            times = process.cpu_times()
            found.append(times.user + times.system)
    return found


def _compare(calls: int, rounds: int, name: str, values: str) -> None:
    """Measure each value of a setting in rounds; print the median of the rounds' ratios to the first value."""
    found: dict[str, list[CallCost]] = {value: [] for value in values.split(",")}
    with tempfile.TemporaryDirectory() as folder, neighbours(Path(folder), 0.0) as at:
        for number in range(rounds):  # every other round takes the values in reverse, since the records grow
            for value in list(found)[:: -1 if number % 2 else 1]:
                found[value].append(measured(at, calls, {name: value}))
    table = Table(title=f"A drained call, {calls:,} of them, medians of {rounds}", title_justify="left")
    first = next(iter(found.values()))
    for column in (name, "worker us", "server us", "both, ratio (median of pairs)", "ratios"):
        table.add_column(column, justify="right")
    for value, costs in found.items():
        ratios = [_both(cost) / _both(other) for cost, other in zip(costs, first, strict=True)]
        row = [f"{median(each.worker_us for each in costs):.1f}", f"{median(each.server_us for each in costs):.1f}"]
        table.add_row(value, *row, f"{median(ratios):.3f}", " ".join(f"{ratio:.3f}" for ratio in ratios))
    Console(width=140).print(table)


def _both(cost: CallCost) -> float:
    return cost.worker_us + cost.server_us


@click.command()
@click.option("--calls", type=int, default=10_000, show_default=True)
@click.option("--rounds", type=int, default=1, show_default=True)
@click.option("--vary", metavar="NAME=VALUE,VALUE", default=None, help="A worker's setting; its values in turn.")
@click.option("--json-file", type=click.Path(path_type=Path), default=None)
def main(*, calls: int, rounds: int, vary: str | None, json_file: Path | None) -> None:
    """Measure, and print a table."""
    if vary is not None:
        _compare(calls, rounds, *vary.split("=", 1))
        return
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder, neighbours(Path(folder), 0.0) as at:
            found.append(measured(at, calls))
    rows: list[dict[str, Any]] = [asdict(each) for each in found]
    table = Table(title=f"A drained call, {calls:,} of them, median of {rounds}", title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="right")
    table.add_row(*(f"{median(row[name] for row in rows):,.2f}" for name in rows[0]))
    Console(width=120).print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
