"""Where the next ceiling is, with up to 100 primaries and 1,000 workers: a model; its inputs are of `bench.partitions`.

python -m bench.fleet [build/partitions/found.json]
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from relay.upkeep.sweeper import PERIOD_S, SWEEPS

#: A server runs commands on one thread; beyond this share of it, queues grow.
BUSY: Final = 0.8
SECOND_US: Final = 1e6
FOUND: Final = Path("build/partitions/found.json")


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds of a server, and bytes: the model's inputs."""

    call_us: float  # of the one server that has the call
    notice_us: float  # of every other server, for a call that is awaited: the cluster tells all of them
    sweep_us: float  # of a worker's sweep of one partition
    idle_us_s: float  # of a server, a second, alone
    talk_us_s: float  # and more for each other server
    connection_bytes: float

    @classmethod
    def measured(cls, found: dict[str, Any]) -> Costs:
        """From what `bench.partitions` wrote."""
        calls, talk, upkeep = found["calls"], found["talk"], found["upkeep"]
        idle = {count: talk[f"idle, {count} servers"]["us a second, each"] for count in (3, 12)}
        more = max(0.0, (idle[12] - idle[3]) / 9)
        return cls(
            call_us=next(iter(calls.values()))["us a call"],
            notice_us=talk["a notice, every other server"]["us"],
            sweep_us=upkeep["a sweep, 64 partitions"]["server us"] / 64,
            idle_us_s=max(0.0, idle[3] - 2 * more),
            talk_us_s=more,
            connection_bytes=talk["a connection that is kept"]["bytes"],
        )


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is there: primaries, each with as many replicas, and who uses them."""

    primaries: int
    workers: int
    partitions: int
    apis: int = 10
    replicas: int = 1
    awaited: float = 0.5  # share of calls whose callers wait in an API process
    hottest: float = 0.05  # share of the busiest plugin
    most_sweeps_s: float = SWEEPS / PERIOD_S  # of all workers, through all partitions; they take turns
    connections: int = 8  # of a worker or API process to each primary: the most that was seen, of a busy worker

    @property
    def servers(self) -> int:
        """All of them."""
        return self.primaries * (1 + self.replicas)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """How many calls a second a fleet can have, and what ends it."""

    calls_s: float
    limit: str  # of "calls", "notices", "sweeps", "talk", "hot plugin"
    shares: dict[str, float]  # of a primary's time, at that rate


def ceiling(fleet: Fleet, costs: Costs) -> Ceiling:
    """The rate at which the first server is busy, or the busiest plugin's."""
    fixed = fixed_us_s(fleet, costs)
    a_call = call_us(fleet, costs)
    left = BUSY * SECOND_US - sum(fixed.values())
    evenly = max(0.0, left / sum(a_call.values()))
    # The busiest plugin lives on one primary, beside that one's share of all others.
    of_others = (1 - fleet.hottest) / fleet.primaries
    hot_us = costs.call_us * (fleet.hottest + of_others) + a_call["notices"]
    hot = max(0.0, left / hot_us)
    rate = min(evenly, hot)
    spent = fixed | {name: us * rate for name, us in a_call.items()}
    is_hot = hot < evenly and fleet.hottest >= of_others
    limit = "hot plugin" if is_hot else max(spent, key=lambda name: spent[name])
    return Ceiling(rate, limit, {name: us / SECOND_US for name, us in spent.items()})


def fixed_us_s(fleet: Fleet, costs: Costs) -> dict[str, float]:
    """What a primary does in a second whether there are calls or not."""
    return {
        "sweeps": min(fleet.workers / PERIOD_S, fleet.most_sweeps_s)
        * fleet.partitions
        * costs.sweep_us
        / fleet.primaries,
        "talk": costs.idle_us_s + costs.talk_us_s * (fleet.servers - 1),
    }


def call_us(fleet: Fleet, costs: Costs) -> dict[str, float]:
    """What a call costs a primary, on the average of all."""
    return {"calls": costs.call_us / fleet.primaries, "notices": costs.notice_us * fleet.awaited}


def connections(fleet: Fleet) -> int:
    """That a primary keeps; servers stop at 10,000 by default."""
    return (fleet.workers + fleet.apis) * fleet.connections


FLEETS: Final = tuple(
    Fleet(primaries, workers, partitions)
    for primaries, workers, partitions in (
        (1, 10, 1),
        (3, 30, 16),
        (10, 100, 64),
        (10, 1_000, 64),
        (30, 300, 64),
        (100, 1_000, 100),
    )
)


def show(console: Console, costs: Costs) -> None:
    """A row a fleet, as it is and with what would move its ceiling."""
    variants = {
        "as it is": lambda fleet: fleet,
        "if every worker swept": lambda fleet: replace(fleet, most_sweeps_s=math.inf),
        "no plugin beyond 1 %": lambda fleet: replace(fleet, hottest=0.01),
    }
    table = Table(title="Calls a second at 80 % of the first server's time, and what it does most then")
    for column in ("primaries", "workers", "partitions", "connections each", *variants):
        table.add_column(column, justify="right")
    for fleet in FLEETS:
        found = [ceiling(change(fleet), costs) for change in variants.values()]
        cells = map(_shown, found)
        table.add_row(
            *(f"{number:,}" for number in (fleet.primaries, fleet.workers, fleet.partitions, connections(fleet))),
            *cells,
        )
    console.print(table)


def _shown(found: Ceiling) -> str:
    """The rate, what ends it, and how much of a primary's time that takes on the average."""
    share = "" if found.limit == "hot plugin" else f" {100 * found.shares[found.limit]:.0f} %"
    return f"{found.calls_s:,.0f} ({found.limit}{share})"


@click.command()
@click.argument("found", type=click.Path(path_type=Path, exists=True), default=FOUND)
def main(found: Path) -> None:
    """Print the model's table for what was measured."""
    console = Console(width=140)
    costs = Costs.measured(json.loads(found.read_text()))
    console.print(costs)
    show(console, costs)


if __name__ == "__main__":
    main()
