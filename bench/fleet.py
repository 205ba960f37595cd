"""A model of what limits up to 100 primaries and 1,000 workers; its inputs come from `bench.partitions`.

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

    call_us: float  # on the one server that has the call
    notice_us: float  # on every other server, for an awaited call: the cluster forwards notices to all
    sweep_us: float  # for a worker's sweep of one partition
    idle_us_s: float  # of an idle server, each second
    talk_us_s: float  # in addition, for each other server
    connection_bytes: float

    @classmethod
    def measured(cls, found: dict[str, Any]) -> Costs:
        """Read the costs from the file that `bench.partitions` wrote."""
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
    """The servers (primaries, each with the same number of replicas) and the processes and calls that use them."""

    primaries: int
    workers: int
    partitions: int
    apis: int = 10
    replicas: int = 1
    awaited: float = 0.5  # share of calls whose callers wait in an API process
    hottest: float = 0.05  # the busiest plugin's share of all calls
    most_sweeps_s: float = SWEEPS / PERIOD_S  # of all workers together: they take turns
    connections: int = 8  # of a worker or API process to each primary: the most seen, from a busy worker

    @property
    def servers(self) -> int:
        """All servers, primaries and replicas."""
        return self.primaries * (1 + self.replicas)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """How many calls a second a fleet can handle, and what limits it."""

    calls_s: float
    limit: str  # one of "calls", "notices", "sweeps", "talk", "hot plugin"
    shares: dict[str, float]  # shares of a primary's time, at that rate


def ceiling(fleet: Fleet, costs: Costs) -> Ceiling:
    """Return the rate at which the first server, or the busiest plugin's, is busy (``BUSY``)."""
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
    """Return microseconds that a primary spends each second even without calls."""
    return {
        "sweeps": min(fleet.workers / PERIOD_S, fleet.most_sweeps_s)
        * fleet.partitions
        * costs.sweep_us
        / fleet.primaries,
        "talk": costs.idle_us_s + costs.talk_us_s * (fleet.servers - 1),
    }


def call_us(fleet: Fleet, costs: Costs) -> dict[str, float]:
    """Return what a call costs a primary, averaged over all primaries."""
    return {"calls": costs.call_us / fleet.primaries, "notices": costs.notice_us * fleet.awaited}


def connections(fleet: Fleet) -> int:
    """Return how many connections a primary keeps; servers allow 10,000 by default."""
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
    """Print a row for each fleet: as it is, and with changes that would raise its limit."""
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
    """Return as text the rate, its limit, and the share of a primary's time that the limit takes on average."""
    share = "" if found.limit == "hot plugin" else f" {100 * found.shares[found.limit]:.0f} %"
    return f"{found.calls_s:,.0f} ({found.limit}{share})"


@click.command()
@click.argument("found", type=click.Path(path_type=Path, exists=True), default=FOUND)
def main(found: Path) -> None:
    """Print the model's table for the measured costs."""
    console = Console(width=140)
    costs = Costs.measured(json.loads(found.read_text()))
    console.print(costs)
    show(console, costs)


if __name__ == "__main__":
    main()
