"""What a sweep found: series of points, and how its goal stands."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted of a sweep, and what was found; ``met`` is None where it could not be told."""

    wanted: str
    found: str
    met: bool | None


@dataclass(slots=True)
class Sweep:
    """Points by series; ``x`` and ``y`` say what they measure. ``labels`` name the points that are no numbers."""

    name: str
    title: str
    x: str
    y: str
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)  # of x = 0, 1, ...

    def add(self, series: str, x: float, y: float) -> None:
        self.series.setdefault(series, []).append((x, round(y, 2)))

    def value(self, series: str, x: float) -> float | None:
        """The point of a series at ``x``."""
        return dict(self.series.get(series, ())).get(x)

    def want(self, wanted: str, found: float | None, at_least: float, unit: str = "x") -> None:
        """A goal that a number should reach."""
        if found is None:
            self.goals.append(Goal(wanted, "nothing", None))
        else:
            self.goals.append(Goal(wanted, f"{found:.2f} {unit}", found >= at_least))

    def want_at_most(self, wanted: str, found: float, at_most: float, unit: str) -> None:
        """A goal that a number should stay below."""
        self.goals.append(Goal(wanted, f"{found:.1f} {unit}", found <= at_most))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
