"""`python -m bench.sweeps`: runs the sweeps, prints the results, writes the JSON."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console

from bench.__main__ import BUILD
from bench.children import BenchError, end_on_sigterm
from bench.machine import machine
from bench.scene import Scenes
from bench.sweeps import arriving, sending

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.sweeps.sweep import Sweep

TLS_CALLS: Final = 20_000  # a few connections are opened at the start, however many calls follow
NAMES: Final = ("bulk", "workers", "payloads", "slow", "tls", "chains", "replays")


@click.command()
@click.option("--only", type=click.Choice(NAMES), multiple=True, help="Only this sweep.")
@click.option("--quick", is_flag=True, help="Small: shows that everything works.")
@click.option("--pending", type=click.IntRange(20_000, 100_000_000), help="How many calls the bulk sweep brings.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), default=BUILD / "sweeps.json", show_default=False)
def main(only: tuple[str, ...], quick: bool, pending: int | None, json_file: Path) -> None:
    """What the relay does over a range of loads."""
    end_on_sigterm()
    console = Console(soft_wrap=True, highlight=False, markup=False)
    shutil.rmtree(BUILD / "sweeps", ignore_errors=True)
    scenes = Scenes(BUILD / "sweeps")
    calls = 2_000 if quick else 20_000
    plays: dict[str, Callable[[], Sweep]] = {
        "bulk": partial(arriving.bulk_accept, scenes, pending or (20_000 if quick else 200_000)),
        "workers": partial(sending.worker_processes, scenes, calls),
        "payloads": partial(sending.payloads, scenes, calls),
        "slow": partial(sending.slow_endpoint, scenes, calls),
        "tls": partial(sending.tls, scenes, TLS_CALLS),
        "chains": partial(sending.chains, scenes, calls),
        "replays": partial(sending.replays, scenes, calls),
    }
    kept = json.loads(json_file.read_text())["sweeps"] if json_file.exists() and only else {}
    json_file.parent.mkdir(parents=True, exist_ok=True)
    for name in only or NAMES:
        try:
            kept[name] = plays[name]().to_json()
        except BenchError as error:
            console.print(f"{name}: {error}")
            continue
        _show(console, kept[name])
        json_file.write_text(json.dumps({"machine": machine(), "sweeps": kept}, indent=1) + "\n")


def _show(console: Console, sweep: dict[str, object]) -> None:
    console.print(f"{sweep['title']} ({sweep['y']} by {sweep['x']})")
    for name, points in dict(sweep["series"]).items():  # type: ignore[call-overload]
        console.print(f"  {name}: " + ", ".join(f"{x:g}: {y:,.2f}" for x, y in points))
    for goal in sweep["goals"]:  # type: ignore[attr-defined]
        mark = {True: "met", False: "missed", None: "unknown"}[goal["met"]]
        console.print(f"  {goal['wanted']}: {goal['found']}: {mark}")


if __name__ == "__main__":
    main()
