"""Draws a run, one panel for each workload and sweep: ``python draw.py BENCH.json SWEEPS.json PICTURE.png``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

COLUMNS: Final = 3
BARS: Final = {
    "drain": "Queued calls drained",
    "await": "Awaited, 64 callers",
    "accept": "Singles accepted, 64 callers",
}
OURS, OTHERS = "#0b6e4f", "#9aa5b1"
WIDE: Final = {"callers", "payloads"}  # ranges of several orders of magnitude


def bars(axes: Any, title: str, rows: list[dict[str, Any]]) -> None:
    """Draw a bar for each contender, with its slowest and fastest round."""
    names = [row["contender"] for row in rows]
    rates = [row["rate_per_s"] for row in rows]
    spread = [
        [row["rate_per_s"] - row["slowest_per_s"] for row in rows],
        [row["fastest_per_s"] - row["rate_per_s"] for row in rows],
    ]
    axes.barh(names, rates, xerr=spread, color=[OURS if name == "relay" else OTHERS for name in names])
    axes.invert_yaxis()
    axes.set_title(f"{title}, a second")


def lines(axes: Any, sweep: dict[str, Any]) -> None:
    """Draw a line for each series; bars where the points have names."""
    if sweep["labels"]:
        axes.bar(sweep["labels"], [y for _, y in sweep["series"]["relay"]], color=OURS, width=0.5)
    for name, points in sweep["series"].items() if not sweep["labels"] else ():
        axes.plot(*zip(*points, strict=True), marker="o", label=name, color=OURS if name == "relay" else None)
    if sweep["name"] in WIDE:
        axes.set_xscale("log")
    axes.set_ylim(0, 1.05 * axes.dataLim.y1)
    axes.set_title(sweep["title"])
    axes.set_xlabel(sweep["x"])
    axes.set_ylabel(sweep["y"])
    if len(sweep["series"]) > 1:
        axes.legend(fontsize=7)


def read(name: str) -> dict[str, Any]:
    file = Path(name)
    return json.loads(file.read_text()) if file.exists() else {}


def main() -> None:
    found, sweeps = read(sys.argv[1]), read(sys.argv[2]).get("sweeps", {})
    rows = [row for row in found.get("standings", []) if row["fsync"] == "always"]
    panels: list[Any] = [(title, [row for row in rows if row["workload"] == name]) for name, title in BARS.items()]
    panels = [panel for panel in panels if panel[1]] + list(sweeps.values())
    height = -(-len(panels) // COLUMNS)
    figure, grid = plt.subplots(height, COLUMNS, figsize=(15, 3.4 * height), squeeze=False, layout="constrained")
    for axes, panel in zip(grid.flat, panels, strict=False):
        if isinstance(panel, dict):
            lines(axes, panel)
        else:
            bars(axes, *panel)
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    figure.savefig(sys.argv[3], dpi=90)


if __name__ == "__main__":
    main()
